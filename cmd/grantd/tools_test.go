package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

func TestCommandsAskForThePasswordOfRedis(t *testing.T) {
	r := redistest.Single(t, "--requirepass", "right")
	for _, url := range []string{"redis://" + r.Addr(), "redis://:wrong@" + r.Addr()} {
		err := execute(t.Context(), []string{"user", "list", "--redis", url})
		var printed bytes.Buffer
		if code := report(&printed, err); code != exitFailed || !strings.Contains(printed.String(), "\nhint: give the password of Redis") {
			t.Errorf("%s: exit %d, %s", url, code, &printed)
		}
	}
}
