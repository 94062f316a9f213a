package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cucumber/godog"
)

// resourceOf finds the path of the first resource of a kind that an Ingress owns.
func (s *scenario) resourceOf(ctx context.Context, kind, ingress string) (string, error) {
	found, err := s.ours(ctx)
	if err != nil {
		return "", err
	}
	for _, path := range found {
		folder, name, _ := strings.Cut(path, "/")
		if kinds[kind] != folder {
			continue
		}
		path = folder + "/" + url.PathEscape(name)
		_, body, err := s.env.REST(ctx, http.MethodGet, path, nil)
		if err != nil {
			return "", err
		}
		if strings.Contains(string(body), " owner=Ingress/"+namespace+"/"+ingress+" ") {
			return path, nil
		}
	}
	return "", fmt.Errorf("Ingress %s has no %s", ingress, kind)
}

// somebodySets changes a key, written as JSON, of a resource by hand.
func (s *scenario) somebodySets(ctx context.Context, section, key, kind, ingress, value string) error {
	path, err := s.resourceOf(ctx, kind, ingress)
	if err != nil {
		return err
	}
	if !json.Valid([]byte(value)) {
		return fmt.Errorf("%s is no JSON", value)
	}
	return s.rest(ctx, http.MethodPut, path, fmt.Sprintf(`{"properties":{%q:{%q:%s}}}`, section, key, value), nil)
}

// somebodyDeletes deletes a resource by hand.
func (s *scenario) somebodyDeletes(ctx context.Context, kind, ingress string) error {
	path, err := s.resourceOf(ctx, kind, ingress)
	if err != nil {
		return err
	}
	return s.rest(ctx, http.MethodDelete, path, "", nil)
}

// somebodyRemovesAll deletes what is ours by hand, what is referred to after what refers.
func (s *scenario) somebodyRemovesAll(ctx context.Context) error {
	var last error
	for range 10 {
		paths, err := s.ours(ctx)
		if err != nil || len(paths) == 0 {
			return err
		}
		for _, path := range paths {
			if err := s.rest(ctx, http.MethodDelete, escaped(path), "", nil); err != nil {
				last = err
			}
		}
	}
	return fmt.Errorf("something stays: %w", last)
}

// somebodyWritesRule replaces the text of a rule by hand, but for our mark.
func (s *scenario) somebodyWritesRule(ctx context.Context, ingress string, text *godog.DocString) error {
	path, err := s.resourceOf(ctx, "rule", ingress)
	if err != nil {
		return err
	}
	_, rule, err := s.env.REST(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	mark, _, _ := strings.Cut(string(rule), "\n")
	status, answer, err := s.env.REST(ctx, http.MethodPut, path, []byte(mark+"\n"+text.Content+"\n"))
	if err == nil && status >= 300 {
		err = fmt.Errorf("status %d: %.300s", status, answer)
	}
	return err
}

// resourceIsBack waits until an Ingress has a resource of a kind again.
func (s *scenario) resourceIsBack(ctx context.Context, ingress, kind string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		_, err := s.resourceOf(ctx, kind, ingress)
		return err
	})
}

// resourceIsGone waits until an Ingress has no resource of a kind any more.
func (s *scenario) resourceIsGone(ctx context.Context, ingress, kind string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		if path, err := s.resourceOf(ctx, kind, ingress); err == nil {
			return errors.New("there still is " + path)
		}
		return nil
	})
}
