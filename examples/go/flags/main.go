// Flags answers whether a call may go ahead: one call a line on stdin, {"user": "u-42", "model": "gpt-4o"}.
// The flags are read to their end first, and then followed; an answer comes from memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	"example.com/tollgate/tollgate"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// follow reads the flags to their end as of now, and goes on in the background.
func follow(ctx context.Context, flags *Flags) error {
	topic := tollgate.Topic("flags")
	// The marks of transactions are read too, and so the last offset of a partition is always seen.
	client, err := tollgate.NewClient(kgo.ConsumeTopics(topic), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return err
	}
	missing := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			missing[end.Partition] = end.Offset
		}
	})
	poll := func() error {
		fetches := client.PollFetches(ctx)
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				flags.Take(string(record.Key), record.Value)
			}
			if end, waits := missing[record.Partition]; waits && record.Offset+1 >= end {
				delete(missing, record.Partition)
			}
		})
		return fetches.Err()
	}
	for len(missing) > 0 {
		if err := poll(); err != nil {
			return err
		}
	}
	go func() {
		defer client.Close()
		for ctx.Err() == nil {
			if err := poll(); err != nil && ctx.Err() == nil {
				log.Print("going on with what is known: ", err)
			}
		}
	}()
	return nil
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	flags := NewFlags()
	if err := follow(ctx, flags); err != nil {
		log.Fatal(err)
	}
	calls, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var call map[string]string
		if err := calls.Decode(&call); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(flags.Check(call)); err != nil {
			log.Fatal(err)
		}
	}
}
