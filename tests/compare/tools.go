//go:build tools

package compare

import _ "github.com/itaysk/kubectl-neat"
