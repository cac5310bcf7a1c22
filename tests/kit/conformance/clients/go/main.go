// The scenario of README.md with cloud.google.com/go/pubsub/v2.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

const timeout = 30 * time.Second

type scenario struct {
	client  *pubsub.Client
	project string
	suffix  string
}

type deadLetter struct {
	Attempts   []int             `json:"attempts"`
	Data       string            `json:"data"`
	Attributes map[string]string `json:"attributes"`
}

type nacked struct {
	Deliveries int  `json:"deliveries"`
	SameID     bool `json:"same_id"`
}

type report struct {
	Received   [][2]string         `json:"received"`
	IDsMatch   bool                `json:"ids_match"`
	Ordered    map[string][]string `json:"ordered"`
	Nacked     nacked              `json:"nacked"`
	DeadLetter deadLetter          `json:"dead_letter"`
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func (s scenario) topic(ctx context.Context, name string) string {
	path := fmt.Sprintf("projects/%s/topics/go-%s-%s", s.project, name, s.suffix)
	must(s.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: path}))
	return path
}

func (s scenario) subscription(ctx context.Context, name, topic string, settings *pubsubpb.Subscription) string {
	settings.Name = fmt.Sprintf("projects/%s/subscriptions/go-%s-%s", s.project, name, s.suffix)
	settings.Topic = topic
	must(s.client.SubscriptionAdminClient.CreateSubscription(ctx, settings))
	return settings.Name
}

// receive hands messages to handle, one at a time, until it has returned true once.
func (s scenario) receive(ctx context.Context, path string, handle func(*pubsub.Message) bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var lock sync.Mutex
	done := false
	err := s.client.Subscriber(path).Receive(ctx, func(_ context.Context, message *pubsub.Message) {
		lock.Lock()
		defer lock.Unlock()
		if handle(message) {
			done = true
			cancel()
		}
	})
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	if !done {
		log.Fatalf("%s: not all messages came within %v", path, timeout)
	}
}

func (s scenario) plain(ctx context.Context, out *report) {
	topic := s.topic(ctx, "plain")
	path := s.subscription(ctx, "plain", topic, &pubsubpb.Subscription{})
	publisher := s.client.Publisher(topic)
	var results []*pubsub.PublishResult
	for n := range 20 {
		results = append(results, publisher.Publish(ctx, &pubsub.Message{
			Data:       fmt.Appendf(nil, "message-%d", n),
			Attributes: map[string]string{"n": fmt.Sprint(n)},
		}))
	}
	published := map[string]bool{}
	for _, result := range results {
		published[must(result.Get(ctx))] = true
	}
	received := map[string][2]string{}
	s.receive(ctx, path, func(message *pubsub.Message) bool {
		message.Ack()
		received[message.ID] = [2]string{string(message.Data), message.Attributes["n"]}
		return len(received) == 20
	})
	out.IDsMatch = len(published) == len(received)
	for id, pair := range received {
		out.IDsMatch = out.IDsMatch && published[id]
		out.Received = append(out.Received, pair)
	}
	sort.Slice(out.Received, func(i, j int) bool { return out.Received[i][0] < out.Received[j][0] })
}

func (s scenario) ordered(ctx context.Context, out *report) {
	topic := s.topic(ctx, "ordered")
	path := s.subscription(ctx, "ordered", topic, &pubsubpb.Subscription{EnableMessageOrdering: true})
	publisher := s.client.Publisher(topic)
	publisher.EnableMessageOrdering = true
	for n := range 10 {
		for _, key := range []string{"a", "b"} {
			publisher.Publish(ctx, &pubsub.Message{Data: fmt.Appendf(nil, "%s-%d", key, n), OrderingKey: key})
		}
	}
	publisher.Stop()
	out.Ordered = map[string][]string{}
	count := 0
	s.receive(ctx, path, func(message *pubsub.Message) bool {
		message.Ack()
		out.Ordered[message.OrderingKey] = append(out.Ordered[message.OrderingKey], string(message.Data))
		count++
		return count == 20
	})
}

func (s scenario) nacked(ctx context.Context, out *report) {
	topic := s.topic(ctx, "nacked")
	path := s.subscription(ctx, "nacked", topic, &pubsubpb.Subscription{})
	must(s.client.Publisher(topic).Publish(ctx, &pubsub.Message{Data: []byte("again")}).Get(ctx))
	ids := map[string]bool{}
	s.receive(ctx, path, func(message *pubsub.Message) bool {
		ids[message.ID] = true
		out.Nacked.Deliveries++
		if out.Nacked.Deliveries == 1 {
			message.Nack()
			return false
		}
		message.Ack()
		return true
	})
	out.Nacked.SameID = len(ids) == 1
}

func (s scenario) deadLetter(ctx context.Context, out *report) {
	deadTopic := s.topic(ctx, "dead")
	deadPath := s.subscription(ctx, "dead", deadTopic, &pubsubpb.Subscription{})
	topic := s.topic(ctx, "poison")
	path := s.subscription(ctx, "poison", topic, &pubsubpb.Subscription{
		DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic, MaxDeliveryAttempts: 5},
	})
	must(s.client.Publisher(topic).Publish(ctx, &pubsub.Message{
		Data:       []byte("poison"),
		Attributes: map[string]string{"kind": "bad"},
	}).Get(ctx))
	// Open until the dead letter is there: a nack that is given just before the end of Receive may be lost.
	refusing := sync.WaitGroup{}
	refusingCtx, cancel := context.WithCancel(ctx)
	refusing.Go(func() {
		err := s.client.Subscriber(path).Receive(refusingCtx, func(_ context.Context, message *pubsub.Message) {
			attempt := 0
			if message.DeliveryAttempt != nil {
				attempt = *message.DeliveryAttempt
			}
			out.DeadLetter.Attempts = append(out.DeadLetter.Attempts, attempt)
			message.Nack()
		})
		if err != nil {
			log.Fatalf("%s: %v", path, err)
		}
	})
	s.receive(ctx, deadPath, func(message *pubsub.Message) bool {
		out.DeadLetter.Data = string(message.Data)
		out.DeadLetter.Attributes = message.Attributes
		message.Ack()
		return true
	})
	cancel()
	refusing.Wait()
}

func main() {
	ctx := context.Background()
	project := os.Getenv("GOOGLE_CLOUD_PROJECT")
	client := must(pubsub.NewClient(ctx, project))
	s := scenario{client: client, project: project, suffix: os.Args[1]}
	var out report
	s.plain(ctx, &out)
	s.ordered(ctx, &out)
	s.nacked(ctx, &out)
	s.deadLetter(ctx, &out)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		log.Fatal(err)
	}
}
