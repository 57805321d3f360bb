package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const module = "github.com/weirnet/weir/"

// source is what the text of a package says about its types.
type source struct {
	types  map[string]string            // comment of a type
	fields map[string]map[string]string // comment of a struct's field, by type
	words  map[string][]string          // values of the string constants of a type, in their order
	notes  map[string][]string          // their comments
}

// sources reads packages when they are asked for.
type sources struct {
	root string
	pkgs map[string]*source
}

func newSources() (*sources, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return &sources{dir, map[string]*source{}}, nil
		}
		if dir == filepath.Dir(dir) {
			return nil, fmt.Errorf("no go.mod above the working directory")
		}
	}
}

// of gives what is known of a package of this module; of another's nothing.
func (s *sources) of(path string) (*source, error) {
	if have := s.pkgs[path]; have != nil {
		return have, nil
	}
	out := &source{map[string]string{}, map[string]map[string]string{}, map[string][]string{}, map[string][]string{}}
	s.pkgs[path] = out
	rel, ours := strings.CutPrefix(path, module)
	if !ours {
		return out, nil
	}
	dir := filepath.Join(s.root, filepath.FromSlash(rel))
	list, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	for _, name := range list {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				out.read(g)
			}
		}
	}
	return out, nil
}

func (s *source) read(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch x := spec.(type) {
		case *ast.TypeSpec:
			s.types[x.Name.Name] = comment(x.Doc, g.Doc)
			if st, ok := x.Type.(*ast.StructType); ok {
				s.fields[x.Name.Name] = fieldComments(st)
			}
		case *ast.ValueSpec:
			t, ok := x.Type.(*ast.Ident)
			if !ok || g.Tok != token.CONST || len(x.Values) != 1 {
				continue
			}
			if lit, ok := x.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if v, err := strconv.Unquote(lit.Value); err == nil {
					s.words[t.Name] = append(s.words[t.Name], v)
					s.notes[t.Name] = append(s.notes[t.Name], comment(x.Comment, x.Doc))
				}
			}
		}
	}
}

func fieldComments(st *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			out[n.Name] = comment(f.Comment, f.Doc)
		}
	}
	return out
}

// comment is the first comment that says something, on one line.
func comment(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if t := strings.Join(strings.Fields(g.Text()), " "); t != "" {
			return t
		}
	}
	return ""
}
