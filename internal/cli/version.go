package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/internal/version"
)

func versionCommand(env *Env, c *client) *cobra.Command {
	var output string
	var clientOnly bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version of weirctl and of the server", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, "text", "json"); err != nil {
				return err
			}
			server, err := serverVersion(cmd.Context(), c, clientOnly)
			if output == "json" {
				v := map[string]any{"client": env.Version}
				switch {
				case server != nil:
					v["server"] = server
				case err != nil:
					v["serverError"] = err.Error()
				}
				return errors.Join(writeJSON(env.Out, v), err)
			}
			fmt.Fprintf(env.Out, "client: %s\n", env.Version)
			if err != nil {
				return fmt.Errorf("the server's version: %w (--client does not ask it)", err)
			}
			if server != nil {
				fmt.Fprintf(env.Out, "server: %s\n", clean(server.String()))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&clientOnly, "client", false, "do not ask the server")
	return cmd
}

func serverVersion(ctx context.Context, c *client, skip bool) (*version.Info, error) {
	if skip {
		return nil, nil
	}
	v := &version.Info{}
	if err := c.getJSON(ctx, "/api/v1/version", nil, v); err != nil {
		return nil, err
	}
	return v, nil
}
