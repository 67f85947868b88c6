package failures

import "time"

const poisonAfter = 300 * time.Millisecond
