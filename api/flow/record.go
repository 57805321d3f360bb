package flow

// Mask is a set of FieldIDs.
type Mask [3]uint64

// Has reports whether field f is in the set.
func (m *Mask) Has(f FieldID) bool { return m[f>>6]&(1<<(f&63)) != 0 }

// Set puts field f into the set.
func (m *Mask) Set(f FieldID) { m[f>>6] |= 1 << (f & 63) }

// Clear takes field f out of the set.
func (m *Mask) Clear(f FieldID) { m[f>>6] &^= 1 << (f & 63) }

// SetAll puts every field of fs into the set.
func (m *Mask) SetAll(fs ...FieldID) {
	for _, f := range fs {
		m.Set(f)
	}
}

// And gives the fields that are in both sets.
func (m Mask) And(o Mask) Mask { return Mask{m[0] & o[0], m[1] & o[1], m[2] & o[2]} }

// Or gives the fields that are in either set.
func (m Mask) Or(o Mask) Mask { return Mask{m[0] | o[0], m[1] | o[1], m[2] | o[2]} }
