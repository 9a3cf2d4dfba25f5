// Reads objects, one JSON document a line, and answers each with what kstatus makes of it: status, tab, message.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	objects := json.NewDecoder(os.Stdin)
	for objects.More() {
		object := &unstructured.Unstructured{}
		if err := objects.Decode(object); err != nil {
			panic(err)
		}
		result, err := status.Compute(object)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\t%q\n", result.Status, result.Message)
	}
}
