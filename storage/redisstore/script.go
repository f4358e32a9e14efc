package redisstore

import (
	"context"
	_ "embed" // the scripts
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Every script may run twice for one call, because go-redis repeats a command
// if its connection breaks before the reply. The second run must change nothing
// more and give the same answer.
var (
	//go:embed script/create.lua
	createText   string
	createScript = redis.NewScript(createText)

	//go:embed script/floors.lua
	floorsText string // see withFloors

	//go:embed script/swap.lua
	swapText   string
	swapScript = redis.NewScript(withFloors(swapText))

	//go:embed script/touch.lua
	touchText string // run by EVAL: see circuit.sendConfirmed

	//go:embed script/prolong.lua
	prolongText   string
	prolongScript = redis.NewScript(prolongText)

	//go:embed script/forget.lua
	forgetText   string
	forgetScript = redis.NewScript(forgetText)

	//go:embed script/revoke.lua
	revokeText   string
	revokeScript = redis.NewScript(withFloors(revokeText))

	//go:embed script/settle.lua
	settleText   string
	settleScript = redis.NewScript(withFloors(settleText))

	//go:embed script/page.lua
	pageText   string
	pageScript = redis.NewScript(pageText)

	//go:embed script/guesses.lua
	guessesText   string
	guessesScript = redis.NewScript(guessesText)

	//go:embed script/audit.lua
	auditText   string
	auditScript = redis.NewScript(auditText)

	//go:embed script/keep.lua
	keepText   string
	keepScript = redis.NewScript(keepText)

	//go:embed script/list.lua
	listText   string
	listScript = redis.NewScript(listText)

	//go:embed script/update.lua
	updateText string // run by EVAL: see directory.update
)

// withFloors adds the function that reads floors to a script, after its first
// line, which may be a directive for Redis.
func withFloors(text string) string {
	first, rest, _ := strings.Cut(text, "\n")
	return first + "\n" + floorsText + rest
}

// pipelined is how many commands share a pipeline at most: enough to make the
// round trip cheap, but few enough for an answer well within callTimeout.
const pipelined = 256

// call is one run of a script.
type call struct {
	keys []string
	args []any
}

// runAll runs the script once for every call, in as few round trips as
// possible, and returns the script's answers, which are numbers. After an error
// any of the calls may have run.
func (s *Store) runAll(ctx context.Context, script *redis.Script, calls []call) ([]int64, error) {
	var answers []int64
	for chunk := range slices.Chunk(calls, pipelined) {
		some, err := s.runChunk(ctx, script, chunk)
		if err != nil {
			return nil, err
		}
		answers = append(answers, some...)
	}
	return answers, nil
}

// runChunk sends the script's digest, and then its text to nodes that don't
// know the script: a pipeline can't fall back by itself as Script.Run does.
func (s *Store) runChunk(ctx context.Context, script *redis.Script, calls []call) ([]int64, error) {
	cmds, err := s.send(ctx, script.EvalSha, calls)
	if err != nil {
		return nil, err
	}
	var unknown []int
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	var again []call
	for _, i := range unknown {
		again = append(again, calls[i])
	}
	texts, err := s.send(ctx, script.Eval, again)
	if err != nil {
		return nil, err
	}
	for i, cmd := range texts {
		cmds[unknown[i]] = cmd
	}
	answers := make([]int64, len(cmds))
	for i, cmd := range cmds {
		n, err := cmd.(*redis.Cmd).Int64()
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		answers[i] = n
	}
	return answers, nil
}

type runner func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

func (s *Store) send(ctx context.Context, run runner, calls []call) ([]redis.Cmder, error) {
	return pipeline(ctx, s.client, func(p redis.Pipeliner) {
		for _, c := range calls {
			run(ctx, p, c.keys, c.args...)
		}
	})
}

// pipeline sends the commands that fill adds, in one round trip to each node.
// The caller handles the answer to each command, even an error.
func pipeline(ctx context.Context, client redis.UniversalClient, fill func(redis.Pipeliner)) ([]redis.Cmder, error) {
	cmds, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		fill(p)
		return nil
	})
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return cmds, nil
		}
	}
	// If no connection can be set up, the pipeline fails but none of its
	// commands has an error: they look as if Redis had answered nil.
	return cmds, unavailable(ctx, err)
}
