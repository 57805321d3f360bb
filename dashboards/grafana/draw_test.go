package grafana_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/dashboards/grafana"
	"github.com/weirnet/weir/dashboards/render"
	"github.com/weirnet/weir/internal/testenv"
)

var draw = flag.Bool("draw", false, "write the pictures of docs/dashboards again")

// TestDraw draws every dashboard over flows from its file and the engine's answers. With
// -draw the pictures become those of the docs.
func TestDraw(t *testing.T) {
	conn := database(t, flowtest.Hour(rand.New(rand.NewPCG(5, 6)), 20_000))
	r := span{flowtest.HourStart, flowtest.HourStart.Add(time.Hour), time.Minute}
	for _, b := range boards(t) {
		if b.code.Health != nil {
			continue
		}
		p := picks()[0]
		p.filter = filterOf(t, conn, &b.file, p, r)
		page := &render.Page{Dashboard: b.file, From: r.from, To: r.to, Step: r.step}
		for i := range b.code.Panels {
			f, err := ask(t.Context(), conn, sqlOf(t, &b.file, i, p, r))
			if err != nil {
				t.Fatal(err)
			}
			page.Frames = append(page.Frames, render.Frame(f))
		}
		picture(t, &b.code, page)
	}
}

// picture checks that all of a page is drawn, and draws it.
func picture(t *testing.T, b *grafana.Board, page *render.Page) {
	t.Helper()
	text, height := render.HTML(page)
	for i, f := range page.Frames {
		if len(f.Rows) == 0 {
			t.Errorf("%s: %s shows nothing", b.Title, *page.Dashboard.Panels[i].Panel.Title)
		}
	}
	if n := strings.Count(text, "class=panel"); n != len(page.Dashboard.Panels) {
		t.Errorf("%s: %d panels are drawn, want %d", b.Title, n, len(page.Dashboard.Panels))
	}
	if !*draw {
		return
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := filepath.Abs(filepath.Join("..", "..", "docs", "dashboards", b.UID+".png"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testenv.NeedTool(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir="+t.TempDir(),
		fmt.Sprintf("--window-size=%d,%d", render.Width, height), "--screenshot="+out, "file://"+file)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
}
