package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weirnet/weir/internal/limitfile"
	"github.com/weirnet/weir/internal/version"
)

// Command is the command line of a daemon: its file, its flags, --check, --dump.
type Command struct {
	Name, Short string
	Kind        string
	Config      any // the defaults; filled by Parse
	Version     version.Info
	Out, Err    io.Writer
}

// Parse reads args and the file that they name into Config. It reports whether
// the daemon is to run; otherwise the process ends with status: 0, 1 for a wrong
// configuration or 2 for a wrong command line.
func (c *Command) Parse(args []string) (run bool, status int) {
	fs := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	fs.SetOutput(c.Err)
	fs.SortFlags = false
	fs.Usage = func() {}
	file := fs.String("config", "", "YAML file with apiVersion: "+APIVersion+" and kind: "+c.Kind)
	check := fs.Bool("check", false, "say what is wrong with the configuration, and exit")
	dump := fs.Bool("dump", false, "print the configuration in effect, and exit")
	showVersion := fs.Bool("version", false, "print the version, and exit")
	help := fs.BoolP("help", "h", false, "print this, and exit")
	flags := Bind(fs, c.Config)

	if err := fs.Parse(args); err != nil {
		return false, c.usage(c.flagError(fs, err))
	}
	switch {
	case *help:
		fmt.Fprintf(c.Out, "%s\n\nUsage:\n  %s [flags]\n\nFlags:\n%s\nEvery key of the file is described in docs/config.md.\n", c.Short, c.Name, fs.FlagUsages())
		return false, 0
	case *showVersion:
		fmt.Fprintln(c.Out, c.Version)
		return false, 0
	case fs.NArg() > 0:
		return false, c.usage(fmt.Sprintf("unexpected argument %q: everything is a flag or stands in the file", fs.Arg(0)))
	}
	var data []byte
	if *file != "" {
		var err error
		if data, err = limitfile.Read(*file, 4<<20); err != nil {
			fmt.Fprintf(c.Err, "%s: read --config: %v\n", c.Name, err)
			return false, 1
		}
		if data == nil {
			data = []byte{}
		}
	}
	if err := Load(*file, data, c.Kind, c.Config, flags); err != nil {
		fmt.Fprintln(c.Err, err)
		return false, 1
	}
	if *dump {
		b, err := Dump(c.Kind, c.Config)
		if err != nil {
			fmt.Fprintf(c.Err, "%s: %v\n", c.Name, err)
			return false, 1
		}
		_, _ = c.Out.Write(b)
		return false, 0
	}
	if *check {
		fmt.Fprintln(c.Out, "the configuration is good")
		return false, 0
	}
	return true, 0
}

func (c *Command) usage(msg string) int {
	fmt.Fprintf(c.Err, "%s: %s\nRun '%s --help' for its flags.\n", c.Name, msg, c.Name)
	return 2
}

func (c *Command) flagError(fs *pflag.FlagSet, err error) string {
	got, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err.Error()
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := Nearest(got, names); near != "" {
		return fmt.Sprintf("unknown flag --%s: did you mean --%s?", got, near)
	}
	return "unknown flag --" + got
}
