package jsonl

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

func samples(from, to uint64) []flow.Record {
	var rs []flow.Record
	for i := from; i < to; i++ {
		rs = append(rs, flowtest.Sample(i))
	}
	return rs
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newSink(t *testing.T, cfg Config, c *clock) *Sink {
	t.Helper()
	s, err := New(cfg, nil, c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// lines reads all files of a sink, oldest first.
func lines(t *testing.T, path string) (all []string, files int) {
	t.Helper()
	ext := filepath.Ext(path)
	names, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, n := range append(names, path) {
		f, err := os.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(n, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			all = append(all, sc.Text())
		}
		if sc.Err() != nil {
			t.Fatal(sc.Err())
		}
		files++
	}
	return all, files
}

func numbers(t *testing.T, lines []string) (ids []uint64) {
	t.Helper()
	for _, l := range lines {
		var r flow.Record
		if err := flow.ParseJSON([]byte(l), &r); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		ids = append(ids, flowtest.SampleNumber(r.ID))
	}
	return ids
}

func wantNumbers(t *testing.T, path string, n int) int {
	t.Helper()
	all, files := lines(t, path)
	ids := numbers(t, all)
	for i, id := range ids {
		if id != uint64(i) {
			t.Fatalf("line %d is record %d", i, id)
		}
	}
	if len(ids) != n {
		t.Fatalf("%d records, want %d", len(ids), n)
	}
	return files
}

func TestRotation(t *testing.T) {
	for _, gz := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Path, cfg.RotateRecords, cfg.Gzip = filepath.Join(t.TempDir(), "flows.jsonl"), 100, gz
		c := &clock{time.UnixMilli(1_700_000_000_000)}
		s := newSink(t, cfg, c)
		for i := uint64(0); i < 250; i += 50 {
			if err := s.WriteAt(t.Context(), i, samples(i, i+50)); err != nil {
				t.Fatal(err)
			}
		}
		c.t = c.t.Add(25 * time.Hour)
		if err := s.Tick(t.Context(), c.t); err != nil { // by age
			t.Fatal(err)
		}
		if files := wantNumbers(t, cfg.Path, 250); files != 4 {
			t.Errorf("%d files, want 4 (gzip %v)", files, gz)
		}
	}
}

func TestKeep(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path, cfg.RotateRecords, cfg.Keep = filepath.Join(t.TempDir(), "flows.jsonl"), 10, 3
	s := newSink(t, cfg, &clock{time.UnixMilli(1_700_000_000_000)})
	for i := uint64(0); i < 200; i += 10 {
		if err := s.WriteAt(t.Context(), i, samples(i, i+10)); err != nil {
			t.Fatal(err)
		}
	}
	all, files := lines(t, cfg.Path)
	ids := numbers(t, all)
	if files != 4 || ids[0] != 160 || len(ids) != 40 {
		t.Errorf("%d files, %d records from %d on", files, len(ids), ids[0])
	}
}

// TestCrashBetweenTheSteps leaves the disk as a crash at each step would and opens anew.
func TestCrashBetweenTheSteps(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, s *Sink, path string){
		"half a batch": func(t *testing.T, _ *Sink, path string) {
			t.Helper()
			appendTo(t, path, `{"proto":6,"sr`)
		},
		"whole batch, no state": func(t *testing.T, _ *Sink, path string) {
			t.Helper()
			r := flowtest.Sample(100)
			appendTo(t, path, string(flow.AppendJSON(nil, &r))+"\n")
		},
		"renamed, no state": func(t *testing.T, s *Sink, path string) {
			t.Helper()
			if err := os.Rename(path, s.rotatedName()); err != nil {
				t.Fatal(err)
			}
		},
		"half a gzip": func(t *testing.T, s *Sink, path string) {
			t.Helper()
			if err := os.Rename(path, s.rotatedName()); err != nil {
				t.Fatal(err)
			}
			appendTo(t, s.rotatedName()+".gz.tmp", "\x1f\x8b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Path, cfg.Gzip = filepath.Join(t.TempDir(), "flows.jsonl"), name == "half a gzip"
			c := &clock{time.UnixMilli(1_700_000_000_000)}
			s := newSink(t, cfg, c)
			if _, ok, err := s.Resume(t.Context(), "spool-a"); ok || err != nil {
				t.Fatal(ok, err)
			}
			if err := s.WriteAt(t.Context(), 0, samples(0, 100)); err != nil {
				t.Fatal(err)
			}
			crash(t, s, cfg.Path)
			s = newSink(t, cfg, c)
			pos, ok, err := s.Resume(t.Context(), "spool-a")
			if pos != 100 || !ok || err != nil {
				t.Fatalf("resumes at %d, %v, %v", pos, ok, err)
			}
			if err := s.WriteAt(t.Context(), 100, samples(100, 150)); err != nil {
				t.Fatal(err)
			}
			if name == "half a gzip" {
				if err := os.Remove(s.stemGlobTmp(t)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			wantNumbers(t, cfg.Path, 150)
			if _, ok, _ := s.Resume(t.Context(), "spool-b"); ok {
				t.Error("takes another spool's position for its own")
			}
		})
	}
}

// stemGlobTmp names a half-written archive that is still there, if any.
func (s *Sink) stemGlobTmp(t *testing.T) string {
	t.Helper()
	stem, _ := s.stem()
	names, err := filepath.Glob(stem + "*.gz.tmp")
	if err != nil || len(names) > 0 {
		t.Fatalf("half an archive is left: %v %v", names, err)
	}
	return filepath.Join(filepath.Dir(stem), "none")
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedWriteComesOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "flows.jsonl")
	s := newSink(t, cfg, &clock{time.UnixMilli(1_700_000_000_000)})
	if err := s.WriteAt(t.Context(), 0, samples(0, 10)); err != nil {
		t.Fatal(err)
	}
	s.f.Close() // the next write fails
	if err := s.WriteAt(t.Context(), 10, samples(10, 20)); err == nil {
		t.Fatal("wrote to a closed file")
	}
	if err := s.WriteAt(t.Context(), 10, samples(10, 20)); err != nil {
		t.Fatal(err)
	}
	// The same batch again, as if its success had not been heard of.
	if err := s.WriteAt(t.Context(), 10, samples(10, 25)); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, cfg.Path, 25)
}

func TestFormats(t *testing.T) {
	for _, f := range []Format{FormatCSV, FormatAntreaCSV, FormatAntreaFlowLog} {
		cfg := DefaultConfig()
		cfg.Path, cfg.Format, cfg.RotateRecords = filepath.Join(t.TempDir(), "flows.csv"), f, 2
		s := newSink(t, cfg, &clock{time.UnixMilli(1_700_000_000_000)})
		for i := uint64(0); i < 4; i += 2 {
			if err := s.WriteAt(t.Context(), i, samples(i, i+2)); err != nil {
				t.Fatal(err)
			}
		}
		all, files := lines(t, cfg.Path)
		r := flowtest.Sample(0)
		var want []string
		switch f {
		case FormatCSV:
			head := string(flow.AppendCSVHeader(nil, flow.AllFields()))
			want = []string{head, string(flow.AppendCSV(nil, &r, flow.AllFields()))}
			if all[3] != head {
				t.Error("the second file has no header")
			}
		case FormatAntreaCSV:
			want = []string{string(flow.AppendAntreaCSV(nil, &r, 1_700_000_000_000))}
		default:
			want = []string{string(flow.AppendAntreaFlowLog(nil, &r, true))}
		}
		if files != 2 || !slices.Equal(all[:len(want)], want) {
			t.Errorf("%s: %d files: %q", f, files, all[:len(want)])
		}
	}
}

func TestAForeignFileIsKept(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "flows.jsonl")
	appendTo(t, cfg.Path, "not ours\n")
	s := newSink(t, cfg, &clock{time.UnixMilli(1_700_000_000_000)})
	if err := s.WriteAt(t.Context(), 0, samples(0, 1)); err != nil {
		t.Fatal(err)
	}
	all, files := lines(t, cfg.Path)
	if files != 2 || all[0] != "not ours" || len(all) != 2 {
		t.Errorf("%d files, %q", files, all)
	}
}

func TestBadConfigAndState(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no path": {Config{Name: "x", Format: FormatJSONL}, "path:"},
		"format":  {Config{Name: "x", Path: dir + "/a", Format: "xml"}, `format: "xml" is none of`},
		"below":   {Config{Name: "x", Path: dir + "/a", Format: FormatJSONL, Keep: -1}, "must not be below zero"},
	} {
		if _, err := New(c.cfg, nil, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(dir, "flows.jsonl")
	appendTo(t, cfg.Path+".state", "{")
	if _, err := New(cfg, nil, nil); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("damaged state: %v", err)
	}
}

func BenchmarkWrite(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(b.TempDir(), "flows.jsonl")
	s, err := New(cfg, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	batch := samples(0, 5000)
	b.ReportAllocs()
	var pos uint64
	for b.Loop() {
		if err := s.WriteAt(b.Context(), pos, batch); err != nil {
			b.Fatal(err)
		}
		pos += uint64(len(batch))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(pos), "ns/record")
}

func TestStream(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Format = FormatCSV
	var out strings.Builder
	s, err := NewStream(cfg, &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Write(t.Context(), samples(0, 3)); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 7 || strings.Count(out.String(), "start,end,") != 1 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
