package main

import (
	"fmt"

	ch "github.com/ClickHouse/ch-go/proto"
)

// What revisions of the protocol brought to a query, as far as revisions that the server
// speaks differ in it (ClickHouse: src/Core/ProtocolDefines.h).
const (
	revisionParameters = 54459
	interfaceTCP       = 1
	interfaceHTTP      = 2
	interfaceLocal     = 6 // of an engine within a process, which is how hosts of a cluster ask here
)

// readQuery reads a query as ch.Query does, of clients of interfaceLocal as well.
func readQuery(r *ch.Reader, version int) (q ch.Query, err error) {
	if version < revisionSerialization {
		return q, q.DecodeAware(r, version)
	}
	if q.ID, err = r.Str(); err != nil {
		return q, err
	}
	if err := skipClient(r); err != nil {
		return q, fmt.Errorf("client info: %w", err)
	}
	for {
		var s ch.Setting
		if err := s.Decode(r); err != nil {
			return q, err
		}
		if s.Key == "" {
			break
		}
		q.Settings = append(q.Settings, s)
	}
	if q.Secret, err = r.Str(); err != nil {
		return q, err
	}
	stage, err := r.UVarInt()
	if err != nil {
		return q, err
	}
	compression, err := r.UVarInt()
	if err != nil {
		return q, err
	}
	q.Stage, q.Compression = ch.Stage(stage), ch.Compression(compression)
	if q.Body, err = r.Str(); err != nil || version < revisionParameters {
		return q, err
	}
	for {
		var p ch.Parameter
		if err := p.Decode(r); err != nil || p.Key == "" {
			return q, err
		}
		q.Parameters = append(q.Parameters, p)
	}
}

// skipClient reads who asks (ClickHouse: src/Interpreters/ClientInfo.cpp).
func skipClient(r *ch.Reader) error {
	var err error
	text := func(n int) {
		for range n {
			if err == nil {
				_, err = r.Str()
			}
		}
	}
	number := func(n int) (last int) {
		for range n {
			if err == nil {
				last, err = r.Int()
			}
		}
		return last
	}
	octet := func() (b byte) {
		if err == nil {
			b, err = r.Byte()
		}
		return b
	}
	octet() // first or from another host
	text(3) // user, query and address of the first asker
	if err == nil {
		_, err = r.Int64() // when it began
	}
	kind := octet()
	switch kind {
	case interfaceTCP:
		text(3)   // user of the system, host, program
		number(3) // version
	case interfaceHTTP:
		octet() // method
		text(3) // agent, forwarded for, referer
	case interfaceLocal:
	default:
		return fmt.Errorf("interface %d is not known", kind)
	}
	text(1)   // quota
	number(1) // depth of distributed queries
	if kind == interfaceTCP {
		number(1) // patch
	}
	if octet() != 0 && err == nil { // OpenTelemetry
		_, err = r.ReadRaw(16 + 8)
		text(1)
		octet()
	}
	number(3) // parallel replicas
	return err
}
