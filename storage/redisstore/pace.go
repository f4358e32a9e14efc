package redisstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/internal/pace"
)

// sweepFree is how long a sweep works before it rests: a small one is done by then.
const sweepFree = 50 * time.Millisecond

// step is how many grants a sweep goes through at a time, and how many one script
// ends at most: few enough that Redis has not long been away from others, who have
// work of their own to do meanwhile.
const step = 64

// usual is about what it takes to look at some grants and delete some of them, for
// Redis and this process together.
func usual(looked, deleted int) time.Duration {
	return 300*time.Microsecond + time.Duration(looked)*5*time.Microsecond + time.Duration(deleted)*20*time.Microsecond
}

// newPace is the pace of work on that node: it rests longer when others, of any
// process, send commands there.
func newPace(node *redis.Client) *pace.Pace {
	asked := int64(0) // which are commands too
	return &pace.Pace{Free: sweepFree, Others: func(ctx context.Context) (int64, bool) {
		n, ok := commands(ctx, node)
		asked++
		return n - asked, ok
	}}
}

// commands is how many commands the node has run.
func commands(ctx context.Context, node *redis.Client) (int64, bool) {
	text, err := node.Info(ctx, "stats").Result()
	if err != nil {
		return 0, false // it may be down, or not let us ask
	}
	_, rest, found := strings.Cut(text, "total_commands_processed:")
	number, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(number, 10, 64)
	return n, found && err == nil
}

// nodeOf is the node that has the partition.
func (s *Store) nodeOf(ctx context.Context, partition byte) (*redis.Client, error) {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		node, err := c.MasterForKey(ctx, floorsKey(partition))
		return node, unavailable(ctx, err)
	}
	return s.client.(*redis.Client), nil
}
