// Usage records calls: one JSON object a line on stdin, {"user": "u-42", "provider": "openai", "model": "gpt-4o",
// "usage": {"input_tokens": 1200, "output_tokens": 300}}. It prints the id of each event once Kafka has stored it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"example.com/tollgate/tollgate"
)

func main() {
	ctx := context.Background()
	client, err := tollgate.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	calls := json.NewDecoder(os.Stdin)
	// A number stays as it is written: an amount never becomes a float.
	calls.UseNumber()
	for {
		var call map[string]any
		if err := calls.Decode(&call); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		user, _ := call["user"].(string)
		delete(call, "user")
		event := tollgate.NewEvent("usage", tollgate.NewID(), user, call)
		if err := tollgate.Publish(ctx, client, event); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.ID)
	}
}
