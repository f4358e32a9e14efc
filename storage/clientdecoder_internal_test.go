package storage

import (
	"fmt"
	"testing"
)

// A decoder forgets texts, so that it keeps a bounded number.
func TestADecoderKeepsABoundedNumber(t *testing.T) {
	var d ClientDecoder
	for i := range 3 * maxDecoded {
		var c Client
		if err := d.Decode(fmt.Appendf(nil, `{"id":"client-%d"}`, i), &c); err != nil || c.ID != fmt.Sprint("client-", i) {
			t.Fatalf("%q, %v", c.ID, err)
		}
		if kept := len(d.decoded); kept == 0 || kept > maxDecoded {
			t.Fatalf("it keeps %d of %d", kept, i+1)
		}
	}
}
