// Package cli is weirctl: what a person types, and what it prints.
//
// In: arguments, the aggregator's API, or saved JSON lines. Out: text, JSON and
// CSV on standard output, what was lost on standard error, and an exit status: 0
// done, 1 failed, 2 used wrongly, 3 nothing found (with --fail-empty). It keeps
// nothing between two calls. Names that came from the network are printed with
// their control characters escaped.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/internal/nearest"
	"github.com/weirnet/weir/internal/version"
)

// Env is what a command has of the world.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Version  version.Info
	Extra    []*cobra.Command // commands that other packages bring
}

// Exit statuses.
const (
	ExitOK    = 0
	ExitError = 1
	ExitUsage = 2
	ExitEmpty = 3
)

type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errEmpty is the end of a command that found nothing, with --fail-empty.
var errEmpty = errors.New("nothing found")

// Run runs one command line and gives its exit status. args[0] is the program's
// name: as kubectl-weir it speaks of itself as `kubectl weir`.
func Run(ctx context.Context, env Env, args []string) int {
	api := &client{env: &env}
	defer api.close()
	root := newRoot(&env, api, filepath.Base(args[0])) //nolint:contextcheck // the farewell outlives the interrupted context
	root.SetArgs(args[1:])
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	if errors.Is(err, errEmpty) {
		return ExitEmpty
	}
	fmt.Fprintf(env.Err, "%s: %s\n", root.Name(), clean(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(env.Err, "Run '%s --help' for its flags.\n", cmd.CommandPath())
		return ExitUsage
	}
	return ExitError
}

func newRoot(env *Env, api *client, name string) *cobra.Command {
	root := &cobra.Command{
		Use:           "weirctl",
		Short:         "See the flows of a cluster, and what was lost of them",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var words []string
			for _, c := range cmd.Commands() {
				words = append(words, c.Name())
			}
			if near := nearest.Word(args[0], words); near != "" {
				return usagef("unknown command %q: did you mean %s?", args[0], near)
			}
			return usagef("unknown command %q", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if name == "kubectl-weir" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl weir"}
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })
	api.bind(root)
	root.AddCommand(observeCommand(env, api), queryCommand(env, api), topCommand(env, api), whyCommand(env, api), findingsCommand(env, api), mapCommand(env, api), diffCommand(env, api), simulateCommand(env, api), getCommand(env, api), ledgerCommand(env, api), checkCommand(env, api), verifyCommand(env, api), versionCommand(env, api))
	root.AddCommand(env.Extra...)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = shellArg, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}

// shellArg refuses a shell that there is no completion for.
func shellArg(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("no completion for %q: use bash, zsh, fish or powershell", args[0])
	}
	return nil
}

// flagError names the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	msg := err.Error()
	got, ok := strings.CutPrefix(msg, "unknown flag: --")
	if !ok {
		if at, _, ok := strings.Cut(msg, " flag: strconv.ParseInt"); ok {
			return usagef("%s flag: write a whole number", at)
		}
		return usageError{err}
	}
	if near := nearest.Word(got, flagNames(cmd)); near != "" {
		return usagef("unknown flag --%s: did you mean --%s?", got, near)
	}
	return usagef("unknown flag --%s", got)
}

func oneOf(what, got string, words ...string) error {
	if slices.Contains(words, got) {
		return nil
	}
	return usagef("--%s: %q is unknown: use %s", what, got, strings.Join(words, ", "))
}

// stdEnv is the environment of a real process.
func stdEnv(v version.Info, extra []*cobra.Command) Env {
	return Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now, Version: v, Extra: extra}
}

// Main runs weirctl on the process's own streams.
func Main(ctx context.Context, linked string, args []string, extra ...*cobra.Command) int {
	prepare(os.Stdout)
	return Run(ctx, stdEnv(version.Get(linked), extra), args)
}
