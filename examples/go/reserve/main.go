// Reserve sets money aside for a call, `reserve u-42 0.10`, and prints the decision; the status is 1 when it is denied.
// With what the call used as a third argument, '{"input_tokens": 1200, "output_tokens": 300}', the reservation is
// settled; without, as when the call failed, it is released.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"time"

	"example.com/tollgate/tollgate"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Decision is the answer to a reservation; asyncapi.yaml has its further fields.
type Decision struct {
	ReservationID string `json:"reservation_id"`
	Granted       bool   `json:"granted"`
}

// A Reserver asks for decisions. They come to one partition, under a key that no other process has.
type Reserver struct {
	client    *kgo.Client
	replyTo   string
	partition int32
}

// NewReserver reads decisions from now on. A service does this once.
func NewReserver(ctx context.Context) (*Reserver, error) {
	client, err := tollgate.NewClient()
	if err != nil {
		return nil, err
	}
	topic := tollgate.Topic("decisions")
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	partition := rand.Int32N(int32(len(ends[topic])))
	end, found := ends.Lookup(topic, partition)
	if !found || end.Err != nil {
		return nil, fmt.Errorf("the topic %s cannot be read: %w", topic, end.Err)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(end.Offset)}})
	return &Reserver{client, tollgate.Source + "-" + tollgate.NewID(), partition}, nil
}

// Ask publishes a reservation and waits for its decision, which it returns as it is written too.
func (r *Reserver) Ask(ctx context.Context, id, user string, data map[string]any) (Decision, string, error) {
	data["reply_to"], data["reply_partition"] = r.replyTo, r.partition
	if err := tollgate.Publish(ctx, r.client, tollgate.NewEvent("reservation", id, user, data)); err != nil {
		return Decision{}, "", err
	}
	for {
		fetches := r.client.PollFetches(ctx)
		for record := range fetches.RecordsAll() {
			var decision Decision
			if string(record.Key) != r.replyTo || json.Unmarshal(record.Value, &decision) != nil {
				continue
			}
			if decision.ReservationID == id {
				return decision, string(record.Value), nil
			}
		}
		if err := fetches.Err(); err != nil {
			return Decision{}, "", err
		}
	}
}

func main() {
	user, amount, used := os.Args[1], os.Args[2], os.Args[3:]
	ctx := context.Background()
	reserver, err := NewReserver(ctx)
	if err != nil {
		log.Fatal(err)
	}
	call := map[string]any{"provider": "openai", "model": "gpt-4o"}
	asked := map[string]any{"amount_usd": amount, "ttl_seconds": 60}
	maps.Copy(asked, call)
	id := tollgate.NewID()
	release := tollgate.NewEvent("release", id+"/release", user, map[string]any{"reservation_id": id})
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	decision, written, err := reserver.Ask(waiting, id, user, asked)
	cancel()
	if err != nil {
		// It may be granted all the same. Whether the call goes ahead now is the service's choice.
		_ = tollgate.Publish(ctx, reserver.client, release)
		log.Fatal("no decision: ", err)
	}
	fmt.Println(written)
	if !decision.Granted {
		os.Exit(1)
	}
	event := release
	if len(used) > 0 {
		call["reservation_id"], call["usage"] = id, json.RawMessage(used[0])
		event = tollgate.NewEvent("usage", tollgate.NewID(), user, call)
	}
	if err := tollgate.Publish(ctx, reserver.client, event); err != nil {
		log.Fatal(err)
	}
	reserver.client.Close()
}
