package cli

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/api/query"
)

// completionWait is how long a shell waits for the server at the tab key.
const completionWait = 2 * time.Second

// completeText asks the server how a query can go on; without a server there is nothing.
func (c *client) completeText(ctx context.Context, text string) *query.Completion {
	ctx, cancel := context.WithTimeout(ctx, completionWait)
	defer cancel()
	var x query.Completion
	if c.getJSON(ctx, "/api/v1/complete", url.Values{"text": {text}}, &x) != nil {
		return &query.Completion{}
	}
	return &x
}

// completeCondition completes a condition or a query, word by word as a shell has it: the
// words before stand in args, or all is one quoted word.
func (c *client) completeCondition(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	before := ""
	if len(args) > 0 {
		before = strings.Join(args, " ") + " "
	}
	text := before + word
	x := c.completeText(cmd.Context(), text)
	var out []string
	for _, s := range x.Suggestions {
		if whole := text[:min(x.From, len(text))] + s.Text; strings.HasPrefix(whole, before) {
			out = append(out, clean(strings.TrimPrefix(whole, before))+"\t"+clean(s.Doc))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeValues completes the value of a flag by what the server saw of a field.
func (c *client) completeValues(field string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		text := field + " = " + word
		var out []string
		for _, s := range c.completeText(cmd.Context(), text).Suggestions {
			if s.Kind == "value" {
				out = append(out, clean(strings.Trim(s.Text, `"`)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
