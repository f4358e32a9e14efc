package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// directory keeps records of one kind by name, each under its own key, and
// their names in a sorted set, the index. In a Cluster these keys are on
// different nodes, so index and record can't change in one step. The index may
// name a record that doesn't exist, but it never lacks one that does.
type directory[T any] struct {
	client *sharing
	prefix string // of the records' keys
	index  string // key of the names
	read   func(text []byte, record *T) error
}

// once is a command that go-redis doesn't repeat by itself. A repeated creation
// or update would take its own result for somebody else's.
type once struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (once) NoRetry() bool { return true }

func (d directory[T]) do(ctx context.Context, args ...any) (any, error) {
	cmd := redis.NewCmd(ctx, args...)
	_ = d.client.Process(ctx, once{cmd}) // its error is the command's
	return cmd.Result()
}

func isNil(err error) bool { return errors.Is(err, redis.Nil) }

// create adds the name to the index twice: before it sets the record, in case
// this process dies in between, and after, in case a concurrent remove took the
// name out.
func (d directory[T]) create(ctx context.Context, name string, record T) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	if err := d.list(ctx, name); err != nil {
		return err
	}
	_, err = d.do(ctx, "SET", d.prefix+name, text, "NX")
	if isNil(err) {
		return storage.ErrExists
	}
	if err != nil {
		return unavailable(ctx, err)
	}
	return d.list(ctx, name)
}

// add is create that also works when memory is full. It takes one round trip
// where names and records are on one node. Repeating a call that succeeded
// succeeds.
func (d directory[T]) add(ctx context.Context, name string, record T) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	if d.client.cluster == nil {
		return d.keep(ctx, []string{d.prefix + name, d.index}, text, name)
	}
	if err := d.list(ctx, name); err != nil {
		return err
	}
	if err := d.keep(ctx, []string{d.prefix + name}, text, name); err != nil {
		return err
	}
	return d.list(ctx, name)
}

func (d directory[T]) keep(ctx context.Context, keys []string, text []byte, name string) error {
	kept, err := keepScript.Run(ctx, d.client, keys, text, name).Int()
	if err == nil && kept == 0 {
		return storage.ErrExists
	}
	return unavailable(ctx, err)
}

func (d directory[T]) list(ctx context.Context, name string) error {
	return unavailable(ctx, listScript.Run(ctx, d.client, []string{d.index}, name).Err())
}

// unlist takes the name out of the index. If the record exists after all,
// because it was created meanwhile, unlist puts the name back.
func (d directory[T]) unlist(ctx context.Context, name string) error {
	if err := d.client.ZRem(ctx, d.index, name).Err(); err != nil {
		return unavailable(ctx, err)
	}
	n, err := d.client.Exists(ctx, d.prefix+name).Result()
	if err != nil || n == 0 {
		return unavailable(ctx, err)
	}
	return d.list(ctx, name)
}

func (d directory[T]) load(ctx context.Context, name string) (T, error) {
	return d.decode(ctx, d.client.Get(ctx, d.prefix+name))
}

func (d directory[T]) decode(ctx context.Context, cmd *redis.StringCmd) (record T, err error) {
	text, err := cmd.Bytes()
	if isNil(err) {
		return record, storage.ErrNotFound
	}
	if err != nil {
		return record, unavailable(ctx, err)
	}
	if err := d.read(text, &record); err != nil {
		return record, fmt.Errorf("redisstore: %w", err)
	}
	return record, nil
}

// update replaces the record if it has the revision replaced.
func (d directory[T]) update(ctx context.Context, name string, next T, replaced uint64) error {
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	answer, err := d.do(ctx, "EVAL", updateText, 1, d.prefix+name, text, replaced)
	switch {
	case err != nil:
		return unavailable(ctx, err)
	case answer == int64(1):
		return nil
	case answer == int64(0):
		return storage.ErrNotFound
	}
	return storage.ErrConflict
}

func (d directory[T]) remove(ctx context.Context, name string) error {
	if err := d.client.Del(ctx, d.prefix+name).Err(); err != nil {
		return unavailable(ctx, err)
	}
	return d.unlist(ctx, name)
}

// page returns up to limit records whose name is greater than after.
func (d directory[T]) page(ctx context.Context, after string, limit int) ([]T, error) {
	var found []T
	for len(found) < limit {
		names, err := d.names(ctx, after, min(limit-len(found), pipelined))
		if err != nil || len(names) == 0 {
			return found, err
		}
		some, err := d.loadAll(ctx, names)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
		after = names[len(names)-1]
	}
	return found, nil
}

// loadAll loads the named records that exist, and unlists the other names.
func (d directory[T]) loadAll(ctx context.Context, names []string) ([]T, error) {
	cmds, err := pipeline(ctx, d.client, func(p redis.Pipeliner) {
		for _, name := range names {
			p.Get(ctx, d.prefix+name)
		}
	})
	if err != nil {
		return nil, err
	}
	var found []T
	for i, cmd := range cmds {
		record, err := d.decode(ctx, cmd.(*redis.StringCmd))
		if errors.Is(err, storage.ErrNotFound) {
			err = d.unlist(ctx, names[i])
		} else if err == nil {
			found = append(found, record)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (d directory[T]) names(ctx context.Context, after string, limit int) ([]string, error) {
	names, err := d.client.ZRangeByLex(ctx, d.index, &redis.ZRangeBy{
		Min: "(" + after, Max: "+", Count: int64(limit),
	}).Result()
	return names, unavailable(ctx, err)
}
