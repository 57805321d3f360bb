// Command kafka makes, counts and reads a topic for `make demo SINK=kafka`.
//
// In: messages in JSON as the sink writes them. Out: text. It keeps nothing.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirnet/weir/api/flow"
)

func main() {
	broker := flag.String("broker", "127.0.0.1:9092", "address of a broker")
	topic := flag.String("topic", "weir.flows", "topic")
	flag.Parse()
	if err := run(*broker, *topic, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

func run(broker, topic, verb string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if verb == "follow" {
		ctx = context.Background()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	switch verb {
	case "create":
		r, err := kadm.NewClient(cl).CreateTopic(ctx, 3, 1, nil, topic)
		if err != nil || errors.Is(r.Err, kerr.TopicAlreadyExists) {
			return err
		}
		return r.Err
	case "count":
		n, err := count(ctx, cl, topic)
		fmt.Println(n)
		return err
	case "ask":
		return ask(ctx, cl, topic)
	case "follow":
		for {
			f := cl.PollFetches(ctx)
			if err := f.Err(); err != nil {
				return err
			}
			f.EachRecord(func(r *kgo.Record) { fmt.Println(string(r.Value)) })
		}
	}
	fmt.Fprintln(os.Stderr, "usage: kafka [-broker ADDR] [-topic NAME] create|count|ask|follow")
	os.Exit(2)
	return nil
}

func count(ctx context.Context, cl *kgo.Client, topic string) (n int64, err error) {
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, ends.Error()
}

// ask reads the topic and shows which groups did not end well.
func ask(ctx context.Context, cl *kgo.Client, topic string) error {
	want, err := count(ctx, cl, topic)
	if err != nil {
		return err
	}
	groups := map[[4]string]int{}
	for n := int64(0); n < want; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return err
		}
		for _, m := range f.Records() {
			n++
			var r flow.Record
			if err := flow.ParseJSON(m.Value, &r); err != nil {
				return err
			}
			if r.Has.Has(flow.FOutcome) && r.Outcome != flow.OutcomeOK && r.Outcome != flow.OutcomeUnknown {
				groups[[4]string{r.SrcWorkload, cmp.Or(r.DstWorkload, r.DstName), r.Text(flow.FDstPort), r.Text(flow.FOutcome)}]++
			}
		}
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b [4]string) int { return cmp.Compare(groups[b], groups[a]) })
	fmt.Printf("%-36s %-36s %6s %-12s %s\n", "client", "server", "port", "outcome", "messages")
	for _, k := range keys[:min(len(keys), 8)] {
		fmt.Printf("%-36s %-36s %6s %-12s %d\n", k[0], k[1], k[2], k[3], groups[k])
	}
	return nil
}
