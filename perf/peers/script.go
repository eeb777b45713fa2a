// Package peers holds what the peers written in Go share with those in other languages.
package peers

import _ "embed"

// Reserve is the script that takes units for one order; its head names keys, arguments and replies.
//
//go:embed reserve.lua
var Reserve string
