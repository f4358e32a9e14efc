package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine says where and with what a run took place.
type machine struct{ text string }

// theMachine looks at the load average first: before the run makes one of its own.
func theMachine() machine {
	average, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	kernel, _, _ := strings.Cut(strings.TrimSpace(read("/proc/sys/kernel/osrelease")), "-")
	return machine{fmt.Sprintf("%s, %s × %s, %d GiB, Linux %s, %s, Redis %s; load average when it began: %s",
		time.Now().UTC().Format(time.DateOnly), strconv.Itoa(runtime.NumCPU()), processor(), (kib("MemTotal")+1<<19)>>20,
		kernel, runtime.Version(), redisVersion(), average)}
}

func read(file string) string {
	text, _ := os.ReadFile(file)
	return string(text)
}

// processor is the model's name.
func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// kib is one of the numbers of /proc/meminfo.
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

func redisVersion() string {
	out, _ := exec.Command("redis-server", "--version").Output()
	if m := versionOf.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "unknown"
}
