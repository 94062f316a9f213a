package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/cucumber/godog"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// failures are ways in which one write fails, as the traffic manager's faults.
var failures = map[string]string{
	"before it took effect": "drop before",
	"after it took effect":  "drop after",
	"with status 503":       "status 503",
}

// eachWriteFails applies Ingresses and deletes them again, once undisturbed, and
// then once for each write that this takes, which fails. Each time all must be as
// in the undisturbed run. Names of these Ingresses sort after others of the same
// second, so that their rank is the same each time.
func (s *scenario) eachWriteFails(ctx context.Context, how string, manifests *godog.DocString) error {
	fault, known := failures[how]
	if !known {
		return fmt.Errorf("writes don't fail %q", how)
	}
	names, err := ingressesIn(manifests.Content)
	if err != nil {
		return err
	}
	var without, with map[string]string
	puts, deletes := 0, 0
	for n := 0; n <= max(puts, deletes); n++ {
		for _, change := range []string{"apply", "delete"} {
			faults := ""
			if n > 0 {
				faults = fmt.Sprintf("%[1]s method=PUT nth=%[2]d\n%[1]s method=DELETE nth=%[2]d\n", fault, n)
			}
			s.countWrites()
			if err := s.env.Faults(faults); err != nil {
				return err
			}
			reference := &with
			if change == "apply" {
				err = s.apply(ctx, manifests.Content)
			} else {
				reference = &without
				for _, name := range names {
					if err == nil {
						err = s.deleteIngress(ctx, name)
					}
				}
			}
			if err != nil {
				return err
			}
			if n == 0 {
				if *reference, err = s.whenSettled(ctx); err != nil {
					return err
				}
				p, d := 0, 0
				for _, w := range s.newWrites() {
					if w.Method == http.MethodPut {
						p++
					} else {
						d++
					}
				}
				puts, deletes = max(puts, p), max(deletes, d)
				continue
			}
			err := s.env.Eventually(ctx, func(ctx context.Context) error {
				is, err := s.allOfOurs(ctx)
				if err == nil && !cmp.Equal(*reference, is) {
					err = fmt.Errorf("what is on the traffic manager differs: %s", cmp.Diff(*reference, is))
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("write %d failed %s at %s: %w", n, how, change, err)
			}
		}
	}
	if puts < 5 || deletes < 5 {
		return fmt.Errorf("%d writes and %d deletions are too few to show anything", puts, deletes)
	}
	return s.env.Faults("")
}

// whenSettled waits until no more is written, and gives what there is.
func (s *scenario) whenSettled(ctx context.Context) (map[string]string, error) {
	for {
		before := len(s.newWrites())
		if err := s.resyncsGoBy(ctx, 5); err != nil {
			return nil, err
		}
		if now := len(s.newWrites()); now == before && now > 0 {
			return s.allOfOurs(ctx)
		}
	}
}

// uidInMark differs each time that an Ingress is made anew.
var uidInMark = regexp.MustCompile(` uid=\S+`)

// allOfOurs are our resources by path, each as it is read.
func (s *scenario) allOfOurs(ctx context.Context) (map[string]string, error) {
	paths, err := s.ours(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, path := range paths {
		status, body, err := s.env.REST(ctx, http.MethodGet, path, nil)
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("%s: status %d, %w", path, status, err)
		}
		text := string(body)
		if strings.HasPrefix(path, "ssl/") {
			// The key is shown as a hash that differs at each reading.
			var key struct {
				Properties struct{ Basic struct{ Public string } }
			}
			if err := json.Unmarshal(body, &key); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			text = key.Properties.Basic.Public
		}
		all[path] = uidInMark.ReplaceAllString(text, "")
	}
	return all, nil
}

func ingressesIn(manifests string) (names []string, err error) {
	for _, part := range strings.Split(manifests, "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(part), &object.Object); err != nil {
			return nil, err
		}
		if object.GetKind() == "Ingress" {
			names = append(names, object.GetName())
		}
	}
	return names, nil
}
