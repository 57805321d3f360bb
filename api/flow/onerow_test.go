package flow_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The row that the test adds, and the program that uses it. The program names the
// field once, to set it; everything else follows from the table.
const newRow = `	{"test.flavour", "TestFlavour", TypeU32, "", "scoops", u(PENWeir, 32000, "weirTestFlavour", 4), "a field that a test adds", "no ice cream"},
}

// PresenceElement`

const newRowTest = `package flow_test

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func TestNewRow(t *testing.T) {
	var r, back flow.Record
	r.SetProto(6)
	r.SetTestFlavour(31)
	const want = ` + "`" + `{"proto":6,"test.flavour":31}` + "`" + `
	if text := string(flow.AppendJSON(nil, &r)); text != want {
		t.Fatalf("json: %s", text)
	}
	if err := flow.ParseJSON([]byte(want), &back); err != nil || back != r {
		t.Fatalf("json back: %v", err)
	}
	back = flow.Record{}
	all := flow.AllFields()
	if err := flow.ParseCSV(flow.AppendCSV(nil, &r, all), all, &back); err != nil || back != r {
		t.Fatalf("csv back: %v", err)
	}
}
`

// TestAddingAFieldIsOneRow copies the module's api, appends one row to the table,
// runs the generator and compiles: JSON, CSV and IPFIX must carry the new field.
func TestAddingAFieldIsOneRow(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a module: not part of -short")
	}
	dir := t.TempDir()
	root := "../.."
	for _, p := range []string{"go.mod", "go.sum"} {
		copyFile(t, filepath.Join(root, p), filepath.Join(dir, p))
	}
	for _, p := range []string{"api", "internal/gen"} {
		copyTree(t, filepath.Join(root, p), filepath.Join(dir, p))
	}
	if err := os.MkdirAll(filepath.Join(dir, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	schema := filepath.Join(dir, "api/flow/schema.go")
	b, err := os.ReadFile(schema)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "}\n\n// PresenceElement", newRow, 1)
	if text == string(b) {
		t.Fatal("the end of the table was not found in schema.go")
	}
	writeFile(t, schema, text)
	writeFile(t, filepath.Join(dir, "api/flow/newrow_test.go"), newRowTest)
	run(t, dir, "go", "generate", "./api/flow")
	run(t, dir, "go", "vet", "./api/flow")
	run(t, dir, "go", "test", "-count=1", "-run", "TestNewRow|TestRoundTrip", "./api/flow")
	page, err := os.ReadFile(filepath.Join(dir, "docs/fields.md"))
	if err != nil || !strings.Contains(string(page), "| `test.flavour` | u32 | scoops | a field that a test adds | no ice cream | 32473/32000 weirTestFlavour |") {
		t.Errorf("docs/fields.md lacks the new field: %v", err)
	}
	t.Run("ipfix", func(t *testing.T) { newRowIPFIX(t, dir) })
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		copyFile(t, p, filepath.Join(to, rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(b))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
