package deployments

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// What KEDA reads is there, and is the number of lanes that wait or are worked on. KEDA takes the numbers of the
// consumer; if it does not find the consumer it takes the stream's last sequence, and scales to the most.
func TestNumberToScaleOn(t *testing.T) {
	s := oneServer(t)
	_, opJS := as(t, s, "operator", nil)
	if _, err := streams.CreateQueue(within(t), opJS, ci, streams.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	pub, _ := as(t, s, "publisher-ci", nil)
	for i := range 30 {
		e, _ := subjects.NewEntity("build", fmt.Sprint(i%10))
		if _, _, err := streams.Publish(within(t), pub, ci, e, streams.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "ten runnable lanes", func() bool {
		n, err := kedaNumber(within(t), fmt.Sprintf("http://%s/jsz?acc=%s&consumers=true&config=true", s.MonitorAddr(), kedaAccount),
			ci.TurnsStream(), subjects.TurnsConsumer)
		if err != nil {
			t.Fatal(err)
		}
		return n == 10
	})
}

// kedaAccount is the account whose streams KEDA looks at; kubernetes/check compares the manifests with the servers' file.
const kedaAccount = "SERIATIM"

// kedaNumber is what KEDA's nats-jetstream scaler makes of the server's answer.
func kedaNumber(ctx context.Context, at, stream, consumer string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct {
		Accounts []struct {
			Name    string `json:"name"`
			Streams []struct {
				Name      string                   `json:"name"`
				Consumers []jetstream.ConsumerInfo `json:"consumer_detail"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, err
	}
	for _, a := range answer.Accounts {
		for _, s := range a.Streams {
			for _, c := range s.Consumers {
				if a.Name == kedaAccount && s.Name == stream && c.Name == consumer {
					return int(c.NumPending) + c.NumAckPending, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("no consumer %s of %s in account %s", consumer, stream, kedaAccount)
}
