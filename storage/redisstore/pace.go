package redisstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/internal/pace"
)

// sweepFree is how long a sweep works before it rests: a small sweep is done by
// then.
const sweepFree = 50 * time.Millisecond

// step is how many grants a sweep reads at a time, and how many one script
// deletes at most: few enough that Redis doesn't keep others waiting for long.
const step = 64

// usual returns about how long it takes to read looked grants and delete
// deleted of them, for Redis and this process together.
func usual(looked, deleted int) time.Duration {
	return 300*time.Microsecond + time.Duration(looked)*5*time.Microsecond + time.Duration(deleted)*20*time.Microsecond
}

// newPace returns the pace of work on that node: the work rests longer when
// others, in any process, send commands to the node.
func newPace(node *redis.Client) *pace.Pace {
	asked := int64(0) // calls of INFO, which count as commands too
	return &pace.Pace{Free: sweepFree, Others: func(ctx context.Context) (int64, bool) {
		n, ok := commands(ctx, node)
		asked++
		return n - asked, ok
	}}
}

// commands returns how many commands the node has run.
func commands(ctx context.Context, node *redis.Client) (int64, bool) {
	text, err := node.Info(ctx, "stats").Result()
	if err != nil {
		return 0, false // the node may be down, or refuse INFO to this user
	}
	_, rest, found := strings.Cut(text, "total_commands_processed:")
	number, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(number, 10, 64)
	return n, found && err == nil
}

// nodeOf returns the node that has the partition.
func (s *Store) nodeOf(ctx context.Context, partition byte) (*redis.Client, error) {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		node, err := c.MasterForKey(ctx, floorsKey(partition))
		return node, unavailable(ctx, err)
	}
	return s.client.(*redis.Client), nil
}
