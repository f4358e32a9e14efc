package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes the machine and the versions of a run.
type machine struct{ text string }

// theMachine describes this machine. It has to be called before the run raises the
// load average.
func theMachine(ctx context.Context) machine {
	average, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	kernel, _, _ := strings.Cut(strings.TrimSpace(read("/proc/sys/kernel/osrelease")), "-")
	return machine{fmt.Sprintf("%s, %s × %s, %d GiB, Linux %s, %s, Redis %s; load average when it began: %s",
		time.Now().UTC().Format(time.DateOnly), strconv.Itoa(runtime.NumCPU()), processor(), (kib("MemTotal")+1<<19)>>20,
		kernel, runtime.Version(), redisVersion(ctx), average)}
}

func read(file string) string {
	text, _ := os.ReadFile(file)
	return string(text)
}

// processor returns the name of the processor's model.
func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// kib returns a number of /proc/meminfo, in KiB.
func kib(name string) int64 {
	for line := range strings.Lines(read("/proc/meminfo")) {
		if found, value, _ := strings.Cut(line, ":"); found == name {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n
		}
	}
	return 0
}

var versionOf = regexp.MustCompile(`v=(\S+)`)

func redisVersion(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if m := versionOf.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "unknown"
}
