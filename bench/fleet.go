package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// fleet is the processes of a run, on loopback ports. Their files are in a directory
// that close deletes.
type fleet struct {
	dir   string
	procs []*exec.Cmd
}

// server is a process on a loopback port.
type server struct {
	name   string
	addr   string
	dir    string
	cmd    *exec.Cmd
	stores []*server // the Redis servers that it uses
}

// newFleet returns a fleet without processes. It fails if a program isn't installed.
// The caller has to close the fleet, even after an error.
func newFleet(programs ...string) (*fleet, error) {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return &fleet{}, fmt.Errorf("%s is not installed (Debian: apt-get install redis-server wrk)", program)
		}
	}
	dir, err := os.MkdirTemp("", "grantd-bench-")
	return &fleet{dir: dir}, err
}

// start starts a process in its own directory and waits until it listens. Its
// output goes to a file there, as a log would.
func (f *fleet) start(ctx context.Context, name string, command func(addr string) []string) (*server, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	args := command(addr)
	dir := filepath.Join(f.dir, strings.ReplaceAll(name, " ", "-"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close() // the child has its own descriptor
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.procs = append(f.procs, cmd)
	for range 200 {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			conn.Close()
			return &server{name: name, addr: addr, dir: dir, cmd: cmd}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(output.Name())
	return nil, fmt.Errorf("%s does not listen:\n%s", name, text)
}

func freeAddr(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// close ends the processes and deletes their files.
func (f *fleet) close() {
	for i := len(f.procs) - 1; i >= 0; i-- {
		_ = f.procs[i].Process.Kill() // it may have ended already
		_ = f.procs[i].Wait()         // it says only that the process was killed
	}
	os.RemoveAll(f.dir)
}

// startRedis starts a redis-server that keeps nothing on disk.
func (f *fleet) startRedis(ctx context.Context, name string, more ...string) (*server, error) {
	return f.start(ctx, name, func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return append([]string{"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}, more...)
	})
}

// masters is how many nodes the Cluster has.
const masters = 3

// startCluster starts a Redis Cluster of masters without replicas, and waits until
// each of them finds it healthy.
func (f *fleet) startCluster(ctx context.Context) ([]*server, error) {
	const slots = 16384
	var nodes []*server
	for i := range masters {
		bus, err := freeAddr(ctx)
		if err != nil {
			return nil, err
		}
		_, busPort, _ := net.SplitHostPort(bus)
		node, err := f.startRedis(ctx, fmt.Sprintf("Redis Cluster %d", i), "--cluster-enabled", "yes", "--cluster-port", busPort)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
		_, port, _ := net.SplitHostPort(node.addr)
		for _, command := range [][]any{ // the other nodes learn of each node from the first one
			{"CLUSTER", "SET-CONFIG-EPOCH", i + 1},
			{"CLUSTER", "ADDSLOTSRANGE", i * slots / masters, (i+1)*slots/masters - 1},
		} {
			if err := node.do(ctx, command...).Err(); err != nil {
				return nil, err
			}
		}
		if i == 0 {
			continue
		}
		if err := nodes[0].do(ctx, "CLUSTER", "MEET", "127.0.0.1", port, busPort).Err(); err != nil {
			return nil, err
		}
	}
	for range 200 {
		if healthy(ctx, nodes) {
			return nodes, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, fmt.Errorf("the nodes of the Cluster don't find each other")
}

func healthy(ctx context.Context, nodes []*server) bool {
	for _, node := range nodes {
		info, _ := node.do(ctx, "CLUSTER", "INFO").Text()
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_size:"+strconv.Itoa(masters)) {
			return false
		}
	}
	return true
}

// do sends one command to a Redis server.
func (s *server) do(ctx context.Context, command ...any) *redis.Cmd {
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	return c.Do(ctx, command...)
}

// used returns how many bytes the Redis server has allocated.
func (s *server) used(ctx context.Context) (int64, error) {
	info, err := s.do(ctx, "INFO", "memory").Text()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	text, _, _ := strings.Cut(rest, "\r\n")
	return strconv.ParseInt(text, 10, 64)
}

// clusterURL returns the URL of the Cluster for grantd.
func clusterURL(nodes []*server) string {
	var addrs []string
	for _, node := range nodes {
		addrs = append(addrs, node.addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// cpu returns the processor time that the process has used, in steps of 10 ms.
func (s *server) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// cpuOfStores returns the processor time that its Redis servers have used.
func (s *server) cpuOfStores() (sum time.Duration) {
	for _, store := range s.stores {
		sum += store.cpu()
	}
	return sum
}

// settle waits until the process and its stores have nothing more to do, so that
// work left by one measurement doesn't slow the next.
func (s *server) settle() {
	const pause, calm = 50 * time.Millisecond, 10 * time.Millisecond
	for range 40 {
		before := s.cpu() + s.cpuOfStores()
		time.Sleep(pause)
		if s.cpu()+s.cpuOfStores()-before <= calm {
			return
		}
	}
}

// resident returns how many bytes of memory the process has now.
func (s *server) resident() int64 {
	statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
