// Command kibanagen writes Weir's saved objects for Kibana. Run it with the address of
// your own Weir page, and the name of your data stream, and import the file.
//
//	go run ./internal/gen/kibanagen -weir https://weir.example -index weir-flows -out weir.ndjson
package main

import (
	"flag"
	"log"
	"os"

	"github.com/weirnet/weir/dashboards/kibana"
)

func main() {
	out := flag.String("out", "weir.ndjson", "file to write")
	index := flag.String("index", "weir-flows", "data stream or pattern that is asked")
	weir := flag.String("weir", "https://weir.example", "address of Weir's page, for links")
	flag.Parse()
	b, err := kibana.Lines(kibana.Objects(*index, *weir))
	if err == nil {
		err = os.WriteFile(*out, b, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
