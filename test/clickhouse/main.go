// Command clickhouse is a ClickHouse server for tests: the engine as a library (chdb)
// behind ClickHouse's native protocol over TCP or TLS, in one process that a test can
// start in a second and kill.
//
// It has one database path, one user, and runs one statement at a time. It has no
// Keeper, and so no Replicated tables.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	lib := flag.String("lib", "libchdb.so", "the engine")
	dir := flag.String("path", "", "directory of the data")
	addr := flag.String("listen", "127.0.0.1:0", "address; the one that was taken is printed as `listening ADDRESS`")
	user := flag.String("user", "default", "the only user")
	password := flag.String("password", "", "its password")
	cert := flag.String("cert", "", "PEM certificate: serve TLS")
	key := flag.String("key", "", "PEM key")
	config := flag.String("config", "", "a server's configuration, for macros, clusters and ZooKeeper")
	peers := flag.String("peers", "", "addresses of the other hosts of the cluster, with commas: what says ON CLUSTER is run there too")
	question := flag.String("ask", "", "serve nothing: ask the server at -listen this, and print the answer")
	unreplicated := flag.Bool("unreplicated", false, "make tables of the Replicated engines without Replicated")
	flag.Parse()
	if *question != "" {
		if err := ask(*addr, *user, *password, *question, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	var hosts []string
	if *peers != "" {
		hosts = strings.Split(*peers, ",")
	}
	if err := serve(*lib, *dir, *config, *addr, *cert, *key, login{*user, *password}, cluster{hosts, *unreplicated}); err != nil {
		log.Fatal(err)
	}
}

func serve(lib, dir, config, addr, cert, key string, who login, with cluster) error {
	e, err := openEngine(lib, dir, config)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		e.close()
		os.Exit(0)
	}()
	fmt.Println("listening", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := newSession(e, conn, who, with).serve(); err != nil {
				log.Println(err)
			}
		}()
	}
}
