// Package ipfix turns flow.Records into IPFIX bytes and back (RFC 7011, RFC 5103
// for reverse elements, RFC 6759 style enterprise elements by PEN).
//
// A Template compiles once into a plan of steps against flow.Fields; encoding and
// decoding then walk the plan. In: messages or records. Out: records or messages.
// It opens no socket, reads no clock and starts no goroutine: Session and Encoder
// are owned by one caller. Unknown elements are skipped and counted, never fatal.
// If we die here, the templates of a session are gone: exporters send them again
// on every connection, and over UDP at every refresh.
package ipfix
