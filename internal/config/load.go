package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the flags of a binary that set keys of its file; a flag beats the file.
type Flags struct {
	set []override
}

type override struct {
	flag, path string
	index      []int
	texts      []string
}

type flagValue struct {
	flags *Flags
	flag  string
	path  string
	index []int
	kind  string
	dflt  string
	list  bool
}

func (v *flagValue) String() string { return v.dflt }
func (v *flagValue) Type() string   { return v.kind }

// Set keeps the text: it is parsed after the file is read, so that both have the same errors.
func (v *flagValue) Set(s string) error {
	texts := []string{s}
	if v.list {
		texts = nil
		for t := range strings.SplitSeq(s, ",") {
			if t = strings.TrimSpace(t); t != "" {
				texts = append(texts, t)
			}
		}
	}
	for i := range v.flags.set {
		if o := &v.flags.set[i]; o.flag == v.flag {
			if v.list {
				o.texts = append(o.texts, texts...)
			} else {
				o.texts = texts
			}
			return nil
		}
	}
	v.flags.set = append(v.flags.set, override{v.flag, v.path, v.index, texts})
	return nil
}

// Bind makes a flag for every key of cfg that has a flag tag. cfg holds the
// defaults, which the usage shows.
func Bind(fs *pflag.FlagSet, cfg any) *Flags {
	flags := &Flags{}
	bind(fs, flags, reflect.ValueOf(cfg).Elem(), "", nil)
	return flags
}

func bind(fs *pflag.FlagSet, flags *Flags, v reflect.Value, path string, index []int) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		idx := append(append([]int(nil), index...), f.index...)
		p := join(path, f.name)
		if fv.Kind() == reflect.Struct {
			bind(fs, flags, fv, p, idx)
			continue
		}
		if f.flag == "" {
			continue
		}
		val := &flagValue{
			flags: flags, flag: f.flag, path: p, index: idx, kind: typeWord(fv), dflt: text(fv),
			list: fv.Kind() == reflect.Slice,
		}
		pf := fs.VarPF(val, f.flag, f.short, f.doc)
		if fv.Kind() == reflect.Bool {
			pf.NoOptDefVal = "true"
			val.kind = "bool"
		}
	}
}

// Load reads data (nil for no file) into cfg, which holds the defaults, puts the
// flags over it and validates the whole. Every problem is reported, not only the first.
func Load(file string, data []byte, kind string, cfg any, flags *Flags) error {
	d := &decoder{file: file, lines: map[string]int{}}
	v := reflect.ValueOf(cfg).Elem()
	if data != nil {
		d.decode(data, kind, v)
	}
	if flags != nil {
		for _, o := range flags.set {
			if err := o.apply(v); err != nil {
				d.problems = append(d.problems, Problem{File: "flag --" + o.flag, Text: err.Error()})
			}
		}
	}
	if len(d.problems) == 0 {
		d.validate(v, "", flags)
	}
	return errors.Join(d.problems...)
}

func (o override) apply(root reflect.Value) error {
	v := root.FieldByIndex(o.index)
	if v.Kind() != reflect.Slice {
		return setScalar(v, o.texts[0])
	}
	out := reflect.MakeSlice(v.Type(), len(o.texts), len(o.texts))
	for i, t := range o.texts {
		if err := setScalar(out.Index(i), t); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

// validate asks every struct that has a Validate, innermost first. Its errors
// begin with the key below the struct: "listen: ...".
func (d *decoder) validate(v reflect.Value, path string, flags *Flags) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			d.validate(v.Index(i), fmt.Sprintf("%s[%d]", path, i), flags)
		}
		return
	}
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		d.validate(v.FieldByIndex(f.index), join(path, f.name), flags)
	}
	c, ok := reflect.TypeAssert[interface{ Validate() error }](v.Addr())
	if !ok {
		return
	}
	err := c.Validate()
	if err == nil {
		return
	}
	list := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		list = j.Unwrap()
	}
	for _, e := range list {
		d.problems = append(d.problems, d.place(e.Error(), path, v.Type(), flags))
	}
}

// place finds the key that a component's error begins with, and the line or flag
// that set it.
func (d *decoder) place(msg, path string, t reflect.Type, flags *Flags) Problem {
	p := Problem{File: d.file, Path: path, Text: msg}
	head, rest, ok := strings.Cut(msg, ": ")
	if ok && !strings.Contains(head, " ") {
		first, _, _ := strings.Cut(strings.SplitN(head, "[", 2)[0], ".")
		for _, f := range fieldsOf(t) {
			if f.name == first {
				p.Path, p.Text = join(path, head), rest
			}
		}
	}
	for at := p.Path; at != ""; at = parent(at) {
		if line, ok := d.lines[at]; ok {
			p.Line = max(line, 0)
			break
		}
	}
	if flags != nil {
		for _, o := range flags.set {
			if o.path == p.Path {
				p.File, p.Line = "flag --"+o.flag, 0
			}
		}
	}
	if p.File == "" {
		p.File = "configuration"
	}
	return p
}

func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}
