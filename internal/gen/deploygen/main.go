// Command deploygen writes the manifests of deploy/ from typed Kubernetes objects,
// so that a wrong field does not compile and a right one is formatted alike.
package main

import (
	"errors"
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
	alerts := flag.String("alerts", "", "file to write Prometheus' alert rules to, and nothing else")
	monitors := flag.String("monitors", "", "file to write a ServiceMonitor and a PrometheusRule to, and nothing else")
	flag.Parse()
	if *alerts != "" || *monitors != "" {
		if err := writeWatch(p, *alerts, *monitors); err != nil {
			log.Fatalf("deploygen: %v", err)
		}
		return
	}
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

// writeWatch writes what has Prometheus watch Weir.
func writeWatch(p params, alerts, monitors string) (err error) {
	if alerts != "" {
		err = writeAlerts(alerts)
	}
	if monitors != "" {
		err = errors.Join(err, p.writeMonitors(monitors))
	}
	return err
}
