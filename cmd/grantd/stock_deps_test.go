package main

import (
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"
	stockredis "github.com/go-oauth2/redis/v4"
	redisv8 "github.com/go-redis/redis/v8"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// go-oauth2/redis requires modules that are too old: on Go 1.26 reflect2 v1.0.1
// crashes the process while a token is encoded, and go-redis v8.0.0-beta.5
// imports a package that OpenTelemetry no longer has.
var stockFloors = map[string]string{
	"github.com/modern-go/reflect2":  "v1.0.2",
	"github.com/go-redis/redis/v8":   "v8.11.5",
	"github.com/go-oauth2/oauth2/v4": "v4.5.4", // the version in which the defects were found
	"github.com/go-oauth2/redis/v4":  "v4.1.1",
	"github.com/json-iterator/go":    "v1.1.12",
}

func TestStockModulesAreNewEnough(t *testing.T) {
	for path, floor := range stockFloors {
		version := strings.TrimSpace(goList(t, "-m", "-f", "{{.Version}}", path))
		if slices.Compare(versionNumbers(t, version), versionNumbers(t, floor)) < 0 {
			t.Errorf("%s is %s, want %s or later", path, version, floor)
		}
	}
}

// versionNumbers parses "v1.0.2"; a version with a suffix sorts before the same
// one without.
func versionNumbers(t *testing.T, version string) []int {
	t.Helper()
	release, suffix, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	var numbers []int
	for part := range strings.SplitSeq(release, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatalf("%q is no version", version)
		}
		numbers = append(numbers, n)
	}
	if suffix != "" {
		return append(numbers, -1)
	}
	return append(numbers, 0)
}

// The versions above are needed for this: older ones crash the process here.
func TestStockRedisStoreEncodesExtensions(t *testing.T) {
	server := redistest.Single(t)
	s := stockredis.NewRedisStore(&redisv8.Options{Addr: server.Addr()})
	defer s.Close()
	for name, extension := range map[string]url.Values{"empty": {}, "filled": {"tenant": {"a"}}} {
		token := models.NewToken()
		token.SetAccess("access-" + name)
		token.SetAccessExpiresIn(time.Hour)
		token.SetExtension(extension)
		if err := s.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		got, err := s.GetByAccess(t.Context(), token.GetAccess())
		if err != nil || got == nil || got.GetAccess() != token.GetAccess() {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

// The stock stores are for tests only: they aren't linked into the program.
func TestStockStoresAreNotLinked(t *testing.T) {
	linked := strings.Fields(goList(t, "-deps", "."))
	if !slices.Contains(linked, "github.com/go-oauth2/oauth2/v4/manage") {
		t.Errorf("the list of %d packages isn't the program's", len(linked))
	}
	for _, path := range linked {
		for _, stock := range []string{
			"github.com/go-oauth2/redis/", "github.com/go-oauth2/oauth2/v4/store", "github.com/go-oauth2/oauth2/v4/server",
			"github.com/go-redis/redis/", "github.com/json-iterator/", "github.com/modern-go/", "github.com/tidwall/",
		} {
			if strings.HasPrefix(path+"/", stock) {
				t.Errorf("links %s", path)
			}
		}
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
