package vtm

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Check says why the traffic manager would refuse a value, in normal form, for a
// key of a resource, by the REST schema; nil if it would not. It also refuses
// what is hidden or read-only, and text with control characters: settings end up
// as lines of files there. The error is the end of a sentence that begins with
// the key: "is unknown to the traffic manager: remove it".
func Check(t Type, section, key string, value any) error {
	k := keySchemaOf(t, section, key)
	if k == nil || k.Expert || k.ReadOnly {
		return errors.New("is unknown to the traffic manager: remove it")
	}
	return k.check(value)
}

func (k *keySchema) check(value any) error {
	switch k.Type {
	case "list", "set":
		list, ok := value.([]any)
		if !ok {
			return errors.New("is no list: write [...]")
		}
		if k.NonEmpty && len(list) == 0 {
			return errors.New("is empty: add an element")
		}
		element := keySchema{Type: k.Items}
		if element.Type == "" {
			element.Type = "string"
		}
		for i, v := range list {
			if err := element.check(v); err != nil {
				return fmt.Errorf("has an element, number %d, that %w", i+1, err)
			}
		}
		return nil
	case "table":
		return k.checkRows(value)
	}
	return k.checkScalar(value)
}

func (k *keySchema) checkScalar(value any) error {
	switch k.Type {
	case "bool":
		if _, ok := value.(bool); !ok {
			return errors.New("is neither true nor false, without quotes: write one of them")
		}
	case "int":
		n, ok := value.(int64)
		if !ok {
			return errors.New("is no whole number: write one, without quotes")
		}
		return k.inRange(float64(n))
	case "float":
		n, ok := value.(float64)
		if !ok {
			return errors.New("is no number: write one, without quotes")
		}
		return k.inRange(n)
	default:
		text, ok := value.(string)
		if !ok {
			return errors.New("is no text: write it in quotes")
		}
		return k.checkText(text)
	}
	return nil
}

func (k *keySchema) inRange(n float64) error {
	if k.Min != nil && n < *k.Min {
		return fmt.Errorf("is too small: write at least %v", *k.Min)
	}
	if k.Max != nil && n > *k.Max {
		return fmt.Errorf("is too large: write at most %v", int64(*k.Max))
	}
	return nil
}

func (k *keySchema) checkText(text string) error {
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("holds a control character: remove it")
	case k.NonEmpty && text == "":
		return errors.New("is empty: write a text")
	case len(k.Enum) > 0 && !slices.Contains(k.Enum, text):
		return fmt.Errorf("is not one of %s: choose one", strings.Join(k.Enum, ", "))
	case k.Pattern != "":
		// The schema's patterns are of another dialect: one that is none of ours is
		// left to the traffic manager.
		if re, err := regexp.Compile(k.Pattern); err == nil && !re.MatchString(text) {
			return fmt.Errorf("does not match %s: correct it", k.Pattern)
		}
	}
	return nil
}

func (k *keySchema) checkRows(value any) error {
	rows, ok := value.([]any)
	if !ok {
		return errors.New("is no table: write a list of objects")
	}
	for i, r := range rows {
		row, ok := r.(map[string]any)
		if !ok {
			return fmt.Errorf("has a row, number %d, that is no object: write {...}", i+1)
		}
		for _, name := range slices.Sorted(maps.Keys(row)) {
			column := k.Columns[name]
			if column == nil {
				return fmt.Errorf("has a row, number %d, with a column that is unknown to the traffic manager: remove it", i+1)
			}
			if err := column.check(row[name]); err != nil {
				return fmt.Errorf("has a row, number %d, whose %s %w", i+1, name, err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(k.Columns)) {
			if _, given := row[name]; !given && k.Columns[name].Required {
				return fmt.Errorf("has a row, number %d, without %s: add it", i+1, name)
			}
		}
	}
	return nil
}
