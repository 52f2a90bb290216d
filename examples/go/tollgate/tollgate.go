// Package tollgate is what the three programs share: where Kafka is, and how an event looks.
package tollgate

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Source names this service. Source and ID together are an event's identity.
const Source = "chat-api"

// An Event is a CloudEvent as Tollgate reads it. Data is what the kind of event says.
type Event struct {
	SpecVersion string         `json:"specversion"`
	Type        string         `json:"type"`
	Source      string         `json:"source"`
	ID          string         `json:"id"`
	Subject     string         `json:"subject"`
	Time        time.Time      `json:"time"`
	Data        map[string]any `json:"data"`
}

// NewID is an id that nobody else makes.
func NewID() string { return rand.Text() }

// NewEvent makes an event of now, of the kind usage, reservation or release.
func NewEvent(kind, id, user string, data map[string]any) Event {
	return Event{"1.0", "tollgate." + kind + ".v1", Source, id, user, time.Now().UTC().Truncate(time.Millisecond), data}
}

// Topic is a topic's whole name.
func Topic(name string) string { return cmp.Or(os.Getenv("TOLLGATE_TOPIC_PREFIX"), "tollgate.") + name }

// NewClient connects to Kafka. By default this library's producer is idempotent and waits for all replicas.
func NewClient(options ...kgo.Opt) (*kgo.Client, error) {
	servers := cmp.Or(os.Getenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS"), "127.0.0.1:9092")
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.ClientID(Source),
		// Java's murmur2, as every other client of Kafka has it.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}, options...)...)
}

// Publish returns once Kafka has stored the event. After an error publish the same event again: its ID counts once.
func Publish(ctx context.Context, client *kgo.Client, event Event) error {
	value, err := json.Marshal(event)
	if err != nil {
		return err
	}
	record := &kgo.Record{Topic: Topic("usage"), Key: []byte(event.Subject), Value: value}
	return client.ProduceSync(ctx, record).FirstErr()
}
