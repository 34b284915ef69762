package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/segue-ann/segue/storage"
)

// Alias is another name of a collection: every call takes it in the collection's place, but for the deletion of the collection.
type Alias struct {
	Name string
	// Collection is the name of the collection it means.
	Collection string
}

// aliasesPerCollection bounds the aliases of an engine, as a multiple of its collections.
const aliasesPerCollection = 4

// SetAlias makes alias mean a collection, which may be named by an alias too. Where it meant another one it is moved in one step: a
// call that begins before meets the one, a call that begins later the other. It is durable when it returns. Errors: *InvalidError,
// *AlreadyExistsError where a collection has that name, *NotFoundError of the collection, *LimitError.
func (e *Engine) SetAlias(ctx context.Context, alias, collection string) (Alias, error) {
	var p problems
	p.name("alias", alias, e.opts.Limits)
	if err := p.err(); err != nil {
		return Alias{}, err
	}
	if err := ctx.Err(); err != nil {
		return Alias{}, err
	}
	e.catalog.Lock()
	defer e.catalog.Unlock()
	c, err := e.Collection(collection)
	if err != nil {
		return Alias{}, err
	}
	e.mu.RLock()
	taken, is, n := e.byName[alias] != nil, e.aliases[alias], len(e.aliases)
	e.mu.RUnlock()
	most := aliasesPerCollection * e.opts.Limits.MaxCollections
	switch {
	case taken:
		return Alias{}, &AlreadyExistsError{Name: alias}
	case is == nil && n >= most:
		return Alias{}, &LimitError{Resource: "aliases", Limit: most}
	}
	if err := e.store.PutAlias(storage.AliasRow{Name: alias, Collection: c.id}); err != nil {
		return Alias{}, fmt.Errorf("write alias: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.aliases[alias] = c
	return Alias{Name: alias, Collection: c.cfg.Name}, nil
}

// DeleteAlias removes an alias, or returns *NotFoundError. The collection stays.
func (e *Engine) DeleteAlias(ctx context.Context, alias string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.catalog.Lock()
	defer e.catalog.Unlock()
	e.mu.RLock()
	c := e.aliases[alias]
	e.mu.RUnlock()
	switch {
	case e.closed.Load():
		return ErrClosed
	case c == nil:
		return &NotFoundError{Kind: "alias", Name: clip(alias)}
	}
	if err := e.store.DeleteAlias(alias); err != nil {
		return fmt.Errorf("delete alias: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.aliases, alias)
	return nil
}

// Aliases returns all aliases by ascending name.
func (e *Engine) Aliases() []Alias {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]Alias, 0, len(e.aliases))
	for name, c := range e.aliases {
		all = append(all, Alias{Name: name, Collection: c.cfg.Name})
	}
	slices.SortFunc(all, func(a, b Alias) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// loadAliases reads the aliases of the collections that were opened.
func (e *Engine) loadAliases() error {
	rows, err := e.store.Aliases()
	if err != nil {
		return fmt.Errorf("read aliases: %w", err)
	}
	byID := make(map[uint32]*Collection, len(e.byName))
	for _, c := range e.byName {
		byID[c.id] = c
	}
	for _, row := range rows {
		c := byID[row.Collection]
		if c == nil {
			e.opts.Logger.Warn("alias of no collection", "alias", row.Name, "id", row.Collection)
			continue
		}
		e.aliases[row.Name] = c
	}
	return nil
}
