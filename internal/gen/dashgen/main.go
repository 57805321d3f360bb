// Command dashgen writes Weir's dashboards for Grafana as JSON, one file each.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/weirnet/weir/dashboards/grafana"
)

func main() {
	out := flag.String("out", ".", "directory of the files")
	flag.Parse()
	if err := write(*out); err != nil {
		log.Fatal(err)
	}
}

func write(dir string) error {
	for _, b := range grafana.Boards() {
		d, err := b.Build()
		if err != nil {
			return fmt.Errorf("%s: %w", b.Title, err)
		}
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, b.UID+".json"), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
