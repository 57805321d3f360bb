package conntrack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkDumpGrowth reads tables of other sizes: what an entry costs as the table
// grows. The machine's limit on entries is raised for the largest while it runs.
func BenchmarkDumpGrowth(b *testing.B) {
	sizes := []int{10_000, 50_000, 100_000, 250_000, 500_000}
	raiseTableLimit(b, sizes[len(sizes)-1]+10_000) // before the namespace: the limit is the machine's
	ownNetNS(b)
	c := anchor(b)
	r := mustReader(b)
	filled := 0
	for _, n := range sizes {
		for ; filled < n; filled++ {
			if err := c.Create(made(filled, uint16(100+filled%16))); err != nil {
				b.Fatalf("entry %d: %v", filled, err)
			}
		}
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			perEntry(b, n, func() { mustDump(b, r, Filter{}, n) })
		})
	}
}

// raiseTableLimit makes room for n entries and puts the old limit back at the end.
func raiseTableLimit(b *testing.B, n int) {
	b.Helper()
	if os.Geteuid() != 0 {
		return // ownNetNS says what is missing
	}
	// The file stays open: from inside another namespace its path is another's.
	f, err := os.OpenFile(sysctlDir+"nf_conntrack_max", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	var text [32]byte
	k, err := f.ReadAt(text[:], 0)
	if k == 0 {
		b.Fatal(err)
	}
	old := strings.TrimSpace(string(text[:k]))
	limit, err := strconv.Atoi(old)
	if err != nil {
		b.Fatal(err)
	}
	if limit >= n || limit == 0 {
		return
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(n)), 0); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _, err := f.WriteAt([]byte(old), 0); err != nil {
			b.Errorf("nf_conntrack_max was %s and is %d now: %v", old, n, err)
		}
	})
}
