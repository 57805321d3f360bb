package query

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Wide is a whole number of 128 bits, in two's complement: a sum of any number of
// counters, exact and the same in any order.
type Wide struct {
	Hi int64
	Lo uint64
}

// WideUint makes a Wide of an unsigned number.
func WideUint(v uint64) Wide { return Wide{0, v} }

// WideInt makes a Wide of a signed number.
func WideInt(v int64) Wide { return Wide{v >> 63, uint64(v)} }

// Plus adds.
func (w Wide) Plus(o Wide) Wide {
	lo, carry := bits.Add64(w.Lo, o.Lo, 0)
	return Wide{w.Hi + o.Hi + int64(carry), lo}
}

// Compare orders numbers.
func (w Wide) Compare(o Wide) int { return cmp.Or(cmp.Compare(w.Hi, o.Hi), cmp.Compare(w.Lo, o.Lo)) }

// Float is the nearest float64.
func (w Wide) Float() float64 {
	if w.Hi < 0 { // the parts of a small negative number are large and cancel out
		lo, borrow := bits.Sub64(0, w.Lo, 0)
		return -(float64(-w.Hi-int64(borrow))*(1<<64) + float64(lo))
	}
	return float64(w.Hi)*(1<<64) + float64(w.Lo)
}

// Any is the number as an int64 or a uint64, where it fits, or else a float64.
func (w Wide) Any() any {
	switch {
	case w.Hi == 0 && w.Lo <= math.MaxInt64, w.Hi == -1 && w.Lo > math.MaxInt64:
		return int64(w.Lo)
	case w.Hi == 0:
		return w.Lo
	default:
		return w.Float()
	}
}

func (w Wide) big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(w.Hi), 64)
	return b.Add(b, new(big.Int).SetUint64(w.Lo))
}

// MarshalText writes the number in decimal digits.
func (w Wide) MarshalText() ([]byte, error) { return w.big().Append(nil, 10), nil }

// UnmarshalText reads decimal digits.
func (w *Wide) UnmarshalText(b []byte) error {
	n, ok := new(big.Int).SetString(strings.TrimSpace(string(b)), 10)
	if !ok || len(b) > 40 || n.BitLen() > 127 {
		return fmt.Errorf("%q is no number of 128 bits", clip(string(b)))
	}
	lo := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	w.Lo = lo.Uint64()
	w.Hi = n.Rsh(n, 64).Int64()
	return nil
}

// Acc is what an aggregate knows of a group. It merges with that of another part of
// the connections, in any order, without a difference.
type Acc struct {
	N         uint64    `json:"n"`                   // connections counted: of conns those opened
	Uncounted uint64    `json:"uncounted,omitempty"` // connections without the field
	Sum       *Wide     `json:"sum,omitempty"`
	Min       *Wide     `json:"min,omitempty"`
	Max       *Wide     `json:"max,omitempty"`
	Sketch    *Sketch   `json:"sketch,omitempty"`
	Distinct  *Distinct `json:"distinct,omitempty"`
}

// Add counts a connection whose field has the value v.
func (a *Acc) Add(fn Func, v Wide) {
	a.N++
	switch fn {
	case Sum, Rate:
		if a.Sum == nil {
			a.Sum = new(Wide)
		}
		*a.Sum = a.Sum.Plus(v)
	case Min:
		a.Min = least(a.Min, &v)
	case Max:
		a.Max = greatest(a.Max, &v)
	case P50, P95, P99:
		if a.Sketch == nil {
			a.Sketch = &Sketch{}
		}
		a.Sketch.Add(v.Float())
	default:
	}
}

// AddText counts a connection for uniq by the text form of its value.
func (a *Acc) AddText(value []byte) {
	a.N++
	if a.Distinct == nil {
		a.Distinct = &Distinct{}
	}
	a.Distinct.Add(value)
}

func least(a, b *Wide) *Wide {
	if a == nil || b != nil && b.Compare(*a) < 0 {
		return b
	}
	return a
}

func greatest(a, b *Wide) *Wide {
	if a == nil || b != nil && b.Compare(*a) > 0 {
		return b
	}
	return a
}

// Merge adds another part.
func (a *Acc) Merge(o *Acc) {
	a.N += o.N
	a.Uncounted += o.Uncounted
	if o.Sum != nil {
		sum := *o.Sum
		if a.Sum != nil {
			sum = sum.Plus(*a.Sum)
		}
		a.Sum = &sum
	}
	a.Min, a.Max = least(a.Min, o.Min), greatest(a.Max, o.Max)
	if o.Sketch != nil {
		if a.Sketch == nil {
			a.Sketch = &Sketch{}
		}
		a.Sketch.Merge(o.Sketch)
	}
	if o.Distinct != nil {
		if a.Distinct == nil {
			a.Distinct = &Distinct{}
		}
		a.Distinct.Merge(o.Distinct)
	}
}

// Value is the aggregate's value over a time of seconds, and nil where no connection
// had the field: int64, uint64 or float64.
func (a *Acc) Value(fn Func, seconds float64) any {
	switch fn {
	case Conns, Active:
		return int64(a.N)
	case Uniq:
		if a.Distinct == nil {
			return int64(0)
		}
		n, _ := a.Distinct.Count()
		return int64(n)
	default:
	}
	switch {
	case a.N == 0:
		return nil
	case fn == Sum && a.Sum != nil:
		return a.Sum.Any()
	case fn == Rate && a.Sum != nil && seconds > 0:
		return a.Sum.Float() / seconds
	case fn == Min && a.Min != nil:
		return a.Min.Any()
	case fn == Max && a.Max != nil:
		return a.Max.Any()
	case a.Sketch != nil:
		if v, ok := a.Sketch.Quantile(fn.Quantile()); ok {
			return v
		}
	}
	return nil
}

// add counts one row.
func (a *Acc) add(agg *Aggregate, r *flow.Record) {
	switch agg.Func {
	case Active:
		a.N++
		return
	case Conns:
		if r.First {
			a.N++
		}
		return
	default:
	}
	text, ok := Text(r, agg.Field)
	switch {
	case !ok:
		a.Uncounted++
	case agg.Func == Uniq:
		a.AddText([]byte(text))
	default:
		id := agg.Field.IDs[0]
		if v, ok := r.Int(id); ok {
			a.Add(agg.Func, WideInt(v))
		} else if v, ok := r.Uint(id); ok {
			a.Add(agg.Func, WideUint(v))
		}
	}
}

// Text gives the text form of a field of one column, and whether it is present.
func Text(r *flow.Record, f Field) (string, bool) {
	id := f.IDs[0]
	if !r.Has.Has(id) {
		return "", false
	}
	if f.Label != "" {
		s, _ := r.Str(id)
		return Label(s, f.Label)
	}
	return r.Text(id), true
}
