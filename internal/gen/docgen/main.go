// Command docgen writes the generated references in docs/.
package main

import (
	"log"
	"os"

	"github.com/weirnet/weir/internal/config"
)

func main() {
	if err := os.WriteFile("../../docs/config.md", []byte(config.Docs()), 0o644); err != nil {
		log.Fatal(err)
	}
}
