package obs

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// LogConfig says how a process logs.
type LogConfig struct {
	Level  string `json:"level" flag:"log-level" doc:"debug, info, warn or error"`
	Format string `json:"format" flag:"log-format" doc:"text, json, or auto: text on a terminal and JSON elsewhere"`
}

// DefaultLogConfig is info in the format that fits the output.
func DefaultLogConfig() LogConfig { return LogConfig{Level: "info", Format: "auto"} }

// NewLogger makes the process's logger on w.
func NewLogger(w io.Writer, c LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %q is no level: use debug, info, warn or error", c.Level)
	}
	opts := &slog.HandlerOptions{Level: level}
	format := c.Format
	if format == "auto" {
		format = "json"
		if IsTerminal(w) {
			format = "text"
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("log.format: %q is no format: use auto, text or json", c.Format)
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width gives the columns of the terminal w, or 0 where it is none.
func Width(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return n
}
