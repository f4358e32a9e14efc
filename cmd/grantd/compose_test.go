package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// composeFile is what docker-compose config makes of docker-compose.yml.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
}

type composeService struct {
	Image       string                    `yaml:"image"`
	Build       any                       `yaml:"build"`
	Command     commandLine               `yaml:"command"`
	Environment map[string]string         `yaml:"environment"`
	Ports       []string                  `yaml:"ports"`
	ReadOnly    bool                      `yaml:"read_only"`
	User        string                    `yaml:"user"`
	CapDrop     []string                  `yaml:"cap_drop"`
	SecurityOpt []string                  `yaml:"security_opt"`
	DependsOn   map[string]map[string]any `yaml:"depends_on"`
	Profiles    []string                  `yaml:"profiles"`
	Volumes     []string                  `yaml:"volumes"`
	Networks    map[string]any            `yaml:"networks"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

// commandLine is a command, given as a list or as one text.
type commandLine []string

func (w *commandLine) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = strings.Fields(n.Value)
		return nil
	}
	return n.Decode((*[]string)(w))
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	redistest.Need(t, "docker-compose")
	out, err := exec.CommandContext(t.Context(), "docker-compose", "-f", "../../docker-compose.yml", "--profile", "observe", "config").CombinedOutput()
	if err != nil {
		t.Fatalf("docker-compose.yml is not valid: %v\n%s", err, out)
	}
	var file composeFile
	if err := yaml.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComposeServicesAreConfined(t *testing.T) {
	services := readCompose(t).Services
	var usual []string
	for name, s := range services {
		if len(s.Profiles) == 0 {
			usual = append(usual, name)
		}
	}
	slices.Sort(usual)
	if want := []string{"authserver", "init", "redis", "resource"}; !slices.Equal(usual, want) {
		t.Fatalf("services are %q, want %q", usual, want)
	}
	for name, s := range services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not confined: %+v", name, s)
		}
	}
	for name, s := range services {
		if builds := s.Build != nil; builds != (name == "init") {
			t.Errorf("%s builds an image: %v; one alone does, and the others wait for it", name, builds)
		}
	}
	if len(services["redis"].Ports) != 0 {
		t.Errorf("Redis is published on %q", services["redis"].Ports)
	}
	for _, name := range []string{"authserver", "resource"} {
		if services[name].DependsOn["redis"]["condition"] != "service_healthy" {
			t.Errorf("%s does not wait for Redis: %v", name, services[name].DependsOn)
		}
	}
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	last := string(dockerfile)[strings.LastIndex(string(dockerfile), "\nFROM "):]
	for _, want := range []string{"FROM scratch", "USER 65532:65532", `CMD ["/grantd", "healthcheck"]`, `ENTRYPOINT ["/grantd"]`} {
		if !strings.Contains(last, want) {
			t.Errorf("the last stage of the image lacks %s", want)
		}
	}
}

// stack runs the services of the compose file as processes of this machine:
// volumes are directories, and names of hosts are ports of 127.0.0.1.
type stack struct {
	t        *testing.T
	services map[string]composeService
	paths    *strings.Replacer
	ports    map[string]string // of the services, by their port inside
}

// TestComposeServesTheReadmeSession starts the services that docker compose up
// would start, with the same commands and environment, and runs the lines of
// the README's section against them. Behind a TLS proxy, both services get the
// trusted proxies from the environment, as the compose file says.
func TestComposeTakesAProxy(t *testing.T) {
	t.Setenv("GRANTD_TRUSTED_PROXIES", "172.18.0.1")
	for _, name := range []string{"authserver", "resource"} {
		if got := readCompose(t).Services[name].Environment["GRANTD_TRUSTED_PROXIES"]; got != "172.18.0.1" {
			t.Errorf("%s trusts the proxies %q", name, got)
		}
	}
}

func TestComposeServesTheReadmeSession(t *testing.T) {
	secrets, redisSecrets, data := t.TempDir(), t.TempDir(), t.TempDir()
	s := &stack{t: t, services: readCompose(t).Services, ports: map[string]string{}}
	for _, inside := range []string{"6379", "8080", "8081"} {
		s.ports[inside] = freePort(t)
	}
	s.paths = strings.NewReplacer(
		"/run/grantd", secrets, "/run/redis", redisSecrets,
		"redis:6379", "127.0.0.1:"+s.ports["6379"],
		":8080", ":"+s.ports["8080"], ":8081", ":"+s.ports["8081"],
		"redis-cli ", "redis-cli -p "+s.ports["6379"]+" ",
		"$$", "$",
	)

	if code, _, stderr := s.launch("init").run(t); code != 0 {
		t.Fatalf("init exits with %d\n%s", code, stderr)
	}
	redis := s.redis(data)
	s.healthy("redis", s.services["redis"].Healthcheck.Test)
	authserver, resource := s.launch("authserver").spawn(t), s.launch("resource").spawn(t)
	s.healthy("authserver", []string{"CMD", "/grantd", "healthcheck"}) // the image's own
	s.healthy("resource", s.services["resource"].Healthcheck.Test)

	s.session()
	t.Run("the same command makes secrets only once", func(t *testing.T) {
		before, _ := os.ReadFile(filepath.Join(secrets, "secret"))
		s.launch("init").run(t)
		if _, err := os.Stat(filepath.Join(redisSecrets, "secret")); err == nil {
			t.Error("Redis can read the deployment secret")
		}
		if after, _ := os.ReadFile(filepath.Join(secrets, "secret")); len(before) == 0 || string(before) != string(after) {
			t.Error("init made another secret")
		}
	})
	for name, g := range map[string]*running{"authserver": authserver, "resource": resource} {
		if code := g.Stop(); code != 0 {
			t.Errorf("%s exits with %d on SIGTERM\n%s", name, code, g.Stderr())
		}
	}
	if err := redis.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
}

// launch is how a service with our image runs.
func (s *stack) launch(service string) launch {
	var l launch
	for _, word := range s.services[service].Command {
		l.args = append(l.args, s.paths.Replace(word))
	}
	for name, value := range s.services[service].Environment {
		l.env = append(l.env, name+"="+s.paths.Replace(value))
	}
	return l
}

// redis starts a real redis-server with the arguments of the service, and with
// those that stand in for the container.
func (s *stack) redis(dir string) *exec.Cmd {
	args := strings.Fields(s.paths.Replace(strings.Join(s.services["redis"].Command, " ")))
	redistest.Need(s.t, args[0])
	args = append(args, "--dir", dir, "--port", s.ports["6379"], "--bind", "127.0.0.1")
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// healthy waits until the health check of the service succeeds.
func (s *stack) healthy(service string, test []string) {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	var out []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var cmd *exec.Cmd
		switch {
		case len(test) > 1 && test[0] == "CMD-SHELL":
			cmd = exec.Command("sh", "-c", s.paths.Replace(test[1]))
		case len(test) > 1 && test[0] == "CMD":
			cmd = exec.Command(strings.Replace(test[1], "/grantd", path, 1), strings.Fields(s.paths.Replace(strings.Join(test[2:], " ")))...)
		default:
			s.t.Fatalf("%s has no health check: %q", service, test)
		}
		cmd.Env = append(os.Environ(), s.launch(service).env...)
		if out, err = cmd.CombinedOutput(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s never became healthy: %v\n%s", service, err, out)
}

// session runs the lines of the README.
func (s *stack) session() {
	t := s.t
	const password = "correct horse & battery+1"
	env := []string{"PASSWORD=" + password}
	ran := 0
	for line := range strings.SplitSeq(strings.TrimSpace(blocks(t, readme(t), "With Docker Compose", "console")[0]), "\n") {
		line = strings.TrimPrefix(line, "$ ")
		ran++
		switch command, grantd, _ := strings.Cut(line, "docker compose exec authserver /grantd "); {
		case strings.HasPrefix(line, "docker compose up"):
			continue // the test has done this itself
		case command == "" && strings.HasPrefix(grantd, "user add"):
			s.grantd(grantd+" --password-file -", password+"\n")
		case command == "":
			env = append(env, "CLIENT_SECRET="+secretIn(t, s.grantd(grantd, "")))
		default:
			line = strings.NewReplacer("localhost:8080", "127.0.0.1:"+s.ports["8080"], "localhost:8081", "127.0.0.1:"+s.ports["8081"]).Replace(line)
			_, got := members(t, shell(t, line, env...))
			if got["access_token"] != nil {
				env = append(env, fmt.Sprint("ACCESS_TOKEN=", got["access_token"]))
			} else if got["username"] != "alice" || got["client_id"] != "web" {
				t.Errorf("%s: got %v", line, got)
			}
		}
	}
	if ran != 5 {
		t.Errorf("the section has %d lines, want 5", ran)
	}
}

// grantd runs a command inside of the service authserver.
func (s *stack) grantd(arguments, stdin string) string {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, strings.Fields(arguments)...)
	cmd.Env = s.launch("authserver").env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("grantd %s: %v\n%s", arguments, err, out)
	}
	return string(out)
}

// secretIn finds the client secret in what client add prints.
func secretIn(t *testing.T, printed string) string {
	t.Helper()
	m := regexp.MustCompile(`(?:^|\s)([A-Za-z0-9_-]{43})(?:\s|$)`).FindStringSubmatch(printed)
	if m == nil {
		t.Fatalf("no secret in %q", printed)
	}
	return m[1]
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
