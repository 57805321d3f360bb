package jsonl

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Format says how a record becomes a line.
type Format string

// The formats.
const (
	FormatJSONL         Format = "jsonl"          // one JSON object a line
	FormatCSV           Format = "csv"            // Weir's fields, with a header
	FormatAntreaCSV     Format = "antrea-csv"     // the lines of Antrea's S3 uploader, no header
	FormatAntreaFlowLog Format = "antrea-flowlog" // the lines of Antrea's flow logger, no header
)

// Config is one sink of files.
type Config struct {
	Name   string // of the sink; also the default of File's base
	Path   string // the file that is being written, say /var/log/weir/flows.jsonl
	Format Format

	RotateBytes   int64         // a file is closed at this size; 0 never
	RotateAge     time.Duration // or at this age; 0 never
	RotateRecords uint64        // or with this many records; 0 never
	Keep          int           // closed files that are kept, oldest removed first; 0 all
	Gzip          bool          // closed files are compressed
	Words         bool          // antrea-flowlog: names instead of numbers (Antrea's prettyPrint)
	Cluster       string        // antrea-csv: the cluster's id where the record has none
}

// DefaultConfig gives the values for everything but Path.
func DefaultConfig() Config {
	return Config{Name: "jsonl", Format: FormatJSONL, RotateBytes: 100 << 20, RotateAge: 24 * time.Hour, Words: true}
}

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("name: is empty")
	case c.Path == "" || strings.HasSuffix(c.Path, string(filepath.Separator)):
		return fmt.Errorf("path: %q names no file", c.Path)
	case c.RotateBytes < 0 || c.RotateAge < 0 || c.Keep < 0:
		return errors.New("rotateBytes, rotateAge, keep: must not be below zero")
	}
	switch c.Format {
	case FormatJSONL, FormatCSV, FormatAntreaCSV, FormatAntreaFlowLog:
		return nil
	}
	return fmt.Errorf("format: %q is none of jsonl, csv, antrea-csv, antrea-flowlog", c.Format)
}
