package redisstore

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestURL(t *testing.T) {
	type want struct {
		Addrs            []string
		DB               int
		User, Password   string
		Master           string
		SentinelUser     string
		SentinelPassword string
		Cluster, TLS     bool
	}
	tests := []struct {
		url  string
		want want
	}{
		{"redis://localhost", want{Addrs: []string{"localhost:6379"}}},
		{"redis://localhost/", want{Addrs: []string{"localhost:6379"}}},
		{"redis://127.0.0.1:7000/3", want{Addrs: []string{"127.0.0.1:7000"}, DB: 3}},
		{"REDIS://h:1", want{Addrs: []string{"h:1"}}},
		{"redis://[::1]:7000/0", want{Addrs: []string{"[::1]:7000"}}},
		{"redis://[::1]", want{Addrs: []string{"[::1]:6379"}}},
		{"redis://u:p@h:1", want{Addrs: []string{"h:1"}, User: "u", Password: "p"}},
		{"redis://:p@h:1", want{Addrs: []string{"h:1"}, Password: "p"}},
		{"redis://u:p%40%2F%3A%3F@h:1", want{Addrs: []string{"h:1"}, User: "u", Password: "p@/:?"}},
		{"redis://u:p@q:r@h:1", want{Addrs: []string{"h:1"}, User: "u", Password: "p@q:r"}},
		{"rediss://h", want{Addrs: []string{"h:6379"}, TLS: true}},
		{"unix:///run/redis.sock", want{Addrs: []string{"/run/redis.sock"}}},
		{"unix://u:p@/run/redis.sock?db=2", want{Addrs: []string{"/run/redis.sock"}, DB: 2, User: "u", Password: "p"}},
		{"redis+sentinel://a,b:1,c:2/mymaster", want{Addrs: []string{"a:26379", "b:1", "c:2"}, Master: "mymaster"}},
		{
			"redis+sentinel://u:p@a:1/m?db=4&sentinel_username=su&sentinel_password=s%26p",
			want{Addrs: []string{"a:1"}, Master: "m", DB: 4, User: "u", Password: "p", SentinelUser: "su", SentinelPassword: "s&p"},
		},
		{"rediss+sentinel://a/m", want{Addrs: []string{"a:26379"}, Master: "m", TLS: true}},
		{"redis+cluster://a:1,b:2,c:3", want{Addrs: []string{"a:1", "b:2", "c:3"}, Cluster: true}},
		{"redis+cluster://a", want{Addrs: []string{"a:6379"}, Cluster: true}},
		{"rediss+cluster://u:p@a:1/", want{Addrs: []string{"a:1"}, Cluster: true, TLS: true, User: "u", Password: "p"}},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			o, err := parseURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			got := want{o.Addrs, o.DB, o.Username, o.Password, o.MasterName, o.SentinelUsername, o.SentinelPassword, o.IsClusterMode, o.TLSConfig != nil}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestURLChoosesTheClient(t *testing.T) {
	for url, cluster := range map[string]bool{
		"redis://h": false, "redis+sentinel://h/m": false, "redis+cluster://h": true, "redis+cluster://h,i": true, "unix:///s": false,
	} {
		s, _ := open(t, url)
		if _, got := s.client.(*redis.ClusterClient); got != cluster {
			t.Errorf("%s: cluster client is %v", url, got)
		}
	}
}

func TestBadURLNamesTheFaultAndNeverThePassword(t *testing.T) {
	tests := []struct{ url, fault string }{
		{"", "scheme"},
		{"hunter2", "scheme"},
		{"localhost:6379", "scheme"},
		{"http://u:hunter2@h", "scheme"},
		{"unixs:///hunter2", "scheme"},
		{"redis://", "host is missing"},
		{"redis://:hunter2@", "host is missing"},
		{"redis://:hunter2@:6379", "host is missing"},
		{"redis://:hunter2@h:port", "port"},
		{"redis://:hunter2@h:0", "port"},
		{"redis://:hunter2@h:65536", "port"},
		{"redis://:hunter2@h:1:2", "host:port"},
		{"redis://:hunter2@::1", "host:port"},
		{"redis://:hunter2@[::1", "host:port"},
		{"redis://:hunter2@a,b", "several hosts"},
		{"redis://:hunter2@h/x", "database"},
		{"redis://:hunter2@h/-1", "database"},
		{"redis://:hunter2@h/0/1", "database"},
		{"redis://:hun/ter2@h", "host is missing"},
		{"redis://u:hun/ter2@h", "port"},
		{"redis://:hun?ter2@h", "host is missing"},
		{"redis://:hunter2%@h", "percent"},
		{"redis://:hunter2@h?db=1", "unknown parameter"},
		{"redis://h?password=hunter2", "unknown parameter"},
		{"redis://h?hunter2%", "query"},
		{"unix://h/s", "absolute path"},
		{"unix://", "absolute path"},
		{"unix:///s?db=x", "database"},
		{"redis+sentinel://:hunter2@h", "master"},
		{"redis+sentinel://:hunter2@h/", "master"},
		{"redis+sentinel://:hunter2@h/m/1", "master"},
		{"redis+sentinel://:hunter2@h,/m", "host is missing"},
		{"redis+sentinel://h/m?sentinel_pasword=hunter2", "unknown parameter"},
		{"redis+sentinel://h/m?db=1&db=2", "twice"},
		{"redis+cluster://:hunter2@h/0", "database is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			_, err := Open(tt.url)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("%q doesn't name the fault: %s", err, tt.fault)
			}
			for _, part := range []string{"hunter2", "hun", "ter2"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q quotes the password", err)
				}
			}
		})
	}
}
