package main

import (
	"cmp"
	"strings"
	"time"
)

// config is everything that can be configured. A key's name is its yaml tag,
// with a dot after the name of its group; its environment variable is GRANTD_
// and the env tags. Durations are texts such as "15m" or "1h30m".
type config struct {
	// Issuer is the URL that the server is reached at: https, or http on a
	// loopback host. It has no query and no fragment. Required.
	Issuer string `yaml:"issuer" env:"ISSUER"`

	// Resource is the URL that clients reach the resource server at, and its
	// resource identifier (RFC 9728). Followed by /users/me, it is the identifier
	// of that resource. It has the issuer's scheme and doesn't end with a slash.
	// Default: the issuer.
	Resource string `yaml:"resource" env:"RESOURCE"`

	// Addr is where serve listens, host:port. Without a host it is every
	// address of the machine; port 0 picks a free one. Default ":8080".
	Addr string `yaml:"addr" env:"ADDR"`

	// ResourceAddr is where resource listens. Default ":8081".
	ResourceAddr string `yaml:"resource_addr" env:"RESOURCE_ADDR"`

	// AdminAddr is where serve listens for admins, with the same certificate. The
	// admin API is then offered nowhere else. Default: none; the admin API is on
	// the main listener.
	AdminAddr string `yaml:"admin_addr,omitempty" env:"ADMIN_ADDR"`

	// MetricsAddr is where serve and resource listen for Prometheus, with the same
	// certificate. GET /metrics is then offered nowhere else. The internet should
	// not reach this address. Default: none; /metrics is on the main listener.
	MetricsAddr string `yaml:"metrics_addr,omitempty" env:"METRICS_ADDR"`

	// Data is the file of the embedded store. Exactly one of data and
	// redis.url is required.
	Data string `yaml:"data,omitempty" env:"DATA"`

	Redis redisConfig `yaml:"redis,omitempty" envPrefix:"REDIS_"`

	// MigrateFrom is the URL of the Redis in which a stock go-oauth2 server kept
	// its tokens, through go-oauth2/redis. These tokens are honoured. The URL has
	// the forms of redis.url except Cluster; its parameter prefix is the
	// keyNamespace of the stock store. Default none.
	MigrateFrom     Secret `yaml:"migrate_from,omitempty" env:"MIGRATE_FROM"`
	MigrateFromFile string `yaml:"migrate_from_file,omitempty" env:"MIGRATE_FROM_FILE"`

	// Secret seals the deployment keys in the store; at least 32 bytes. All
	// processes on one store need the same one. Required.
	Secret     Secret `yaml:"secret,omitempty" env:"SECRET"`
	SecretFile string `yaml:"secret_file,omitempty" env:"SECRET_FILE"`

	// Profile is default or strict. Strict follows RFC 9700 and OAuth 2.1 to the
	// letter; above all, there is no password grant. See
	// authserver.Config.Strict. Default "default".
	Profile string `yaml:"profile" env:"PROFILE"`

	// Scopes are the scopes that the server knows. Default read, write, admin.
	Scopes list `yaml:"scopes" env:"SCOPES"`

	// DefaultScopes are granted to a request that names no scope. If there are
	// none, every request has to name a scope. Default read.
	DefaultScopes list `yaml:"default_scopes" env:"DEFAULT_SCOPES"`

	// AccessLifetime of access tokens: whole seconds, at most 24h. Default 1h.
	AccessLifetime time.Duration `yaml:"access_lifetime" env:"ACCESS_LIFETIME"`

	// RefreshIdle is how long a refresh token lives unused: whole seconds.
	// Default 336h, 14 days.
	RefreshIdle time.Duration `yaml:"refresh_idle" env:"REFRESH_IDLE"`

	// RefreshAbsolute is how long a sign-in lasts, however often it is
	// refreshed: whole seconds, at least refresh_idle. Default 2160h, 90 days.
	RefreshAbsolute time.Duration `yaml:"refresh_absolute" env:"REFRESH_ABSOLUTE"`

	// RetryWindow is how long a client that lost the answer to a refresh may
	// repeat it: at most 30s; 0s turns this off. Default 10s.
	RetryWindow time.Duration `yaml:"retry_window" env:"RETRY_WINDOW"`

	// TLSCert and TLSKey are PEM files; both or none. Without them serve speaks
	// plain http. The files may be replaced while it runs: see keyPair.
	TLSCert string `yaml:"tls_cert,omitempty" env:"TLS_CERT"`
	TLSKey  string `yaml:"tls_key,omitempty" env:"TLS_KEY"`

	// TrustedProxies are addresses or CIDR ranges whose X-Forwarded-For,
	// X-Forwarded-Proto and X-Request-Id are believed. Default none.
	TrustedProxies list `yaml:"trusted_proxies,omitempty" env:"TRUSTED_PROXIES"`

	Log          logConfig  `yaml:"log" envPrefix:"LOG_"`
	PasswordHash hashConfig `yaml:"password_hash" envPrefix:"PASSWORD_HASH_"`

	// PasswordMinLength is how many characters a password needs when it is
	// chosen: 8 to 64. Default 8.
	PasswordMinLength int `yaml:"password_min_length" env:"PASSWORD_MIN_LENGTH"`

	// AuditRetention is how long events of the audit trail are kept: whole seconds,
	// at least 1h. Default 720h, 30 days.
	AuditRetention time.Duration `yaml:"audit_retention" env:"AUDIT_RETENTION"`

	// AuditEvents is how many events of the audit trail are kept, whatever their
	// age: 1000 to 10000000. Default 100000.
	AuditEvents int `yaml:"audit_events" env:"AUDIT_EVENTS"`

	// ShutdownDelay is how long requests are still served after SIGTERM, while
	// /readyz makes load balancers send no more of them here: up to 1m. Default 0s.
	ShutdownDelay time.Duration `yaml:"shutdown_delay" env:"SHUTDOWN_DELAY"`

	// ShutdownTimeout is how long requests in flight, and work that requests left
	// running, may take to finish after SIGTERM and the delay: up to 5m. Default
	// 10s.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" env:"SHUTDOWN_TIMEOUT"`

	// AdminPassword is the password of the first user, "admin", which serve and
	// init make when the store has no admin. Default: none; serve then makes no
	// admin, and init asks for a password.
	AdminPassword     Secret `yaml:"admin_password,omitempty" env:"ADMIN_PASSWORD"`
	AdminPasswordFile string `yaml:"admin_password_file,omitempty" env:"ADMIN_PASSWORD_FILE"`

	// Unknown are the GRANTD_ variables that set no key. They are not a fault,
	// since orchestrators add such variables of their own.
	Unknown []string `yaml:"-"`
}

// redisConfig says which Redis is the store.
type redisConfig struct {
	// URL is redis://, rediss://, redis+sentinel:// or redis+cluster://; see
	// storage/redisstore. Default none.
	URL string `yaml:"url,omitempty" env:"URL"`

	// Password is put into the URL, which must not hold another. Default none.
	Password     Secret `yaml:"password,omitempty" env:"PASSWORD"`
	PasswordFile string `yaml:"password_file,omitempty" env:"PASSWORD_FILE"`

	// WaitReplicas is how many replicas, of each master in a Cluster, have to
	// confirm a revocation or a refresh before it is answered. If they don't within
	// 200 ms, the answer is 503. 0 to 8; redisstore.WithReplicas says what this
	// guarantees. Default 0: none.
	WaitReplicas int `yaml:"wait_replicas,omitempty" env:"WAIT_REPLICAS"`
}

// logConfig says what is logged, to standard error.
type logConfig struct {
	// Level is debug, info, warn or error. Every request is a line at info.
	// Default info.
	Level string `yaml:"level" env:"LEVEL"`

	// Format is json or text. Default json.
	Format string `yaml:"format" env:"FORMAT"`
}

// hashConfig is the cost of argon2id, RFC 9106. After a change, the hash of each
// user is made again at the user's next sign-in.
type hashConfig struct {
	// Memory of one hash, in KiB. Default 19456.
	Memory uint32 `yaml:"memory" env:"MEMORY"`

	// Time is the number of passes. Default 2.
	Time uint32 `yaml:"time" env:"TIME"`

	// Threads of one hash. Default 1.
	Threads uint8 `yaml:"threads" env:"THREADS"`

	// Slots is how many hashes are made at once. Default 0: one per processor.
	Slots int `yaml:"slots" env:"SLOTS"`

	// Queue is how many sign-ins may wait for a slot; more are answered with
	// 503. Default 0: 64.
	Queue int `yaml:"queue" env:"QUEUE"`
}

func defaultConfig() config {
	return config{
		Addr:            ":8080",
		ResourceAddr:    ":8081",
		Profile:         profileDefault,
		Scopes:          list{"read", "write", "admin"},
		DefaultScopes:   list{"read"},
		AccessLifetime:  time.Hour,
		RefreshIdle:     336 * time.Hour,
		RefreshAbsolute: 2160 * time.Hour,
		RetryWindow:     10 * time.Second,
		Log:             logConfig{Level: "info", Format: "json"},
		PasswordHash:    hashConfig{Memory: 19456, Time: 2, Threads: 1},
		AuditRetention:  720 * time.Hour,
		AuditEvents:     100_000,
		ShutdownTimeout: 10 * time.Second,

		PasswordMinLength: 8,
	}
}

// resources returns the identifiers of the resources that grantd serves: the
// resource server as a whole, and GET /users/me.
func (c *config) resources() (base, usersMe string) {
	base = strings.TrimSuffix(cmp.Or(c.Resource, c.Issuer), "/")
	return base, base + "/users/me"
}

// The values of profile.
const (
	profileDefault = "default"
	profileStrict  = "strict"
)

func (c *config) strict() bool { return c.Profile == profileStrict }

// list is a list of words: a sequence in YAML, and in the environment words
// separated by spaces or commas.
type list []string

// UnmarshalText splits the text at spaces and commas.
func (l *list) UnmarshalText(text []byte) error {
	*l = strings.FieldsFunc(string(text), func(r rune) bool { return r == ' ' || r == ',' })
	return nil
}

// secretField is a secret, and the file from which it may be read instead.
type secretField struct {
	key   string
	value *Secret
	file  *string
}

func (c *config) secretFields() []secretField {
	return []secretField{
		{"redis.password", &c.Redis.Password, &c.Redis.PasswordFile},
		{"migrate_from", &c.MigrateFrom, &c.MigrateFromFile},
		{"secret", &c.Secret, &c.SecretFile},
		{"admin_password", &c.AdminPassword, &c.AdminPasswordFile},
	}
}
