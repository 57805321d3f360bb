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

	args []string // of Parse
	file string
}

// line is what stands on the command line.
type line struct {
	file                       string
	check, dump, version, help bool
	flags                      *Flags
	set                        *pflag.FlagSet
}

// read parses args into cfg, the file left out.
func (c *Command) read(args []string, cfg any) (*line, error) {
	l := &line{set: pflag.NewFlagSet(c.Name, pflag.ContinueOnError)}
	fs := l.set
	fs.SetOutput(c.Err)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&l.file, "config", "", "YAML file with apiVersion: "+APIVersion+" and kind: "+c.Kind)
	fs.BoolVar(&l.check, "check", false, "say what is wrong with the configuration, and exit")
	fs.BoolVar(&l.dump, "dump", false, "print the configuration in effect, and exit")
	fs.BoolVar(&l.version, "version", false, "print the version, and exit")
	fs.BoolVarP(&l.help, "help", "h", false, "print this, and exit")
	l.flags = Bind(fs, cfg)
	return l, fs.Parse(args)
}

// load reads the file that the line names, if any, into cfg.
func (c *Command) load(l *line, cfg any) error {
	var data []byte
	if l.file != "" {
		var err error
		if data, err = limitfile.Read(l.file, 4<<20); err != nil {
			return fmt.Errorf("%s: read --config: %w", c.Name, err)
		}
		if data == nil {
			data = []byte{}
		}
	}
	return Load(l.file, data, c.Kind, cfg, l.flags)
}

// Reload reads the file of the command line again into cfg, which holds the defaults; the
// flags beat it as they did at the start.
func (c *Command) Reload(cfg any) error {
	l, err := c.read(c.args, cfg)
	if err != nil {
		return err
	}
	return c.load(l, cfg)
}

// File is the file of the command line; empty if it names none.
func (c *Command) File() string { return c.file }

// Parse reads args and the file that they name into Config. It reports whether
// the daemon is to run; otherwise the process ends with status: 0, 1 for a wrong
// configuration or 2 for a wrong command line.
func (c *Command) Parse(args []string) (run bool, status int) {
	l, err := c.read(args, c.Config)
	if err != nil {
		return false, c.usage(c.flagError(l.set, err))
	}
	c.args, c.file = args, l.file
	switch {
	case l.help:
		fmt.Fprintf(c.Out, "%s\n\nUsage:\n  %s [flags]\n\nFlags:\n%s\nEvery key of the file is described in docs/config.md.\n", c.Short, c.Name, l.set.FlagUsages())
		return false, 0
	case l.version:
		fmt.Fprintln(c.Out, c.Version)
		return false, 0
	case l.set.NArg() > 0:
		return false, c.usage(fmt.Sprintf("unexpected argument %q: everything is a flag or stands in the file", l.set.Arg(0)))
	}
	if err := c.load(l, c.Config); err != nil {
		fmt.Fprintln(c.Err, err)
		return false, 1
	}
	if l.dump {
		b, err := Dump(c.Kind, c.Config)
		if err != nil {
			fmt.Fprintf(c.Err, "%s: %v\n", c.Name, err)
			return false, 1
		}
		_, _ = c.Out.Write(b)
		return false, 0
	}
	if l.check {
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
