package storage

import (
	"bytes"
	"slices"
	"sync"
)

// maxDecoded bounds the clients that a ClientDecoder keeps; with one more it begins anew.
const maxDecoded = 1024

// ClientDecoder decodes the JSON of clients, each text once as long as it keeps it: a
// token request loads its client every time, and decoding takes longer than reading. The
// same text is the same client, so nothing that it keeps can be stale. The zero
// ClientDecoder is ready for use. It is safe for concurrent use.
type ClientDecoder struct {
	mu      sync.RWMutex
	decoded map[string]Client // by their text
}

// Decode reads the client, or returns what DecodeRecord does.
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

// clone is the client with nothing shared.
func (c Client) clone() Client {
	for _, v := range []*SecretVerifier{&c.Secret, &c.PreviousSecret} {
		v.Salt, v.Hash = bytes.Clone(v.Salt), bytes.Clone(v.Hash)
	}
	for _, list := range []*[]string{&c.Grants, &c.Scopes, &c.RedirectURIs, &c.Audiences, &c.Origins} {
		*list = slices.Clone(*list)
	}
	return c
}
