// Command deploygen writes the manifests of deploy/ from typed Kubernetes objects,
// so that a wrong field does not compile and a right one is formatted alike.
package main

import (
	"flag"
	"log"
	"os"
)

func main() {
	p := defaults()
	out := flag.String("out", "observe.yaml", "file to write, - for standard output")
	flag.StringVar(&p.Version, "version", p.Version, "tag of the images")
	flag.StringVar(&p.Images, "images", p.Images, "prefix of the images' names: a registry and a path, or a path alone")
	flag.StringVar(&p.Namespace, "namespace", p.Namespace, "namespace to deploy to")
	flag.IntVar(&p.Aggregators, "aggregators", p.Aggregators, "number of aggregators")
	flag.StringVar(&p.Storage, "storage", p.Storage, "size of each aggregator's volume")
	flag.Func("evidence", "further sources of the agents, each with the rights that it needs: dns, icmp, resets, sockets", p.setEvidence)
	flag.Parse()
	b, err := render(p)
	if err != nil {
		log.Fatalf("deploygen: %v", err)
	}
	if *out == "-" {
		_, err = os.Stdout.Write(b)
	} else {
		err = os.WriteFile(*out, b, 0o644)
	}
	if err != nil {
		log.Fatalf("deploygen: %v", err)
	}
}
