package storage

import (
	"bytes"
	"slices"
	"sync"
)

// maxDecoded bounds the clients that a ClientDecoder keeps. For one more it forgets all.
const maxDecoded = 1024

// ClientDecoder decodes the JSON of clients, and remembers the client of each text:
// every token request loads its client, and decoding takes longer than reading. The same
// text is always the same client, so nothing that it remembers can be stale. The zero
// ClientDecoder is ready for use. It is safe for concurrent use.
type ClientDecoder struct {
	mu      sync.RWMutex
	decoded map[string]Client // by their text
}

// Decode reads the client. Its errors are those of DecodeRecord.
func (d *ClientDecoder) Decode(text []byte, c *Client) error {
	d.mu.RLock()
	kept, found := d.decoded[string(text)]
	d.mu.RUnlock()
	if !found {
		if err := DecodeRecord(text, &kept); err != nil {
			return err
		}
		d.keep(string(text), kept)
	}
	*c = kept.clone()
	return nil
}

func (d *ClientDecoder) keep(text string, c Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.decoded == nil || len(d.decoded) >= maxDecoded {
		d.decoded = make(map[string]Client)
	}
	d.decoded[text] = c
}

// clone returns a deep copy of the client.
func (c Client) clone() Client {
	for _, v := range []*SecretVerifier{&c.Secret, &c.PreviousSecret} {
		v.Salt, v.Hash = bytes.Clone(v.Salt), bytes.Clone(v.Hash)
	}
	for _, list := range []*[]string{&c.Grants, &c.Scopes, &c.RedirectURIs, &c.Audiences, &c.Origins} {
		*list = slices.Clone(*list)
	}
	return c
}
