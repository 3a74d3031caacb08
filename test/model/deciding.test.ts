import { redisForTests } from '../redis-for-tests.ts';
import { sequencesOf } from './sequences.ts';

const server = redisForTests({ emptied: 'once' });

sequencesOf(
  server,
  {
    name: 'deciding',
    sequences: 700,
    most: 3,
    stories: { 'a life': 1, 'a grant': 1, 'a budget': 1, 'an edit': 1, 'a deadline': 1 },
    weights: {
      propose: 9,
      click: 18,
      vote: 3,
      'deliver again': 2,
      withdraw: 1,
      edit: 3,
      'give grant': 4,
      'revoke grant': 1,
      attempt: 6,
      'deliver a job': 2,
      'end the call': 1,
      'time is over': 3,
      sweep: 2,
      attest: 1,
      leave: 1,
      'come back': 1,
      off: 1,
      on: 1,
      restart: 1,
    },
    reaches: {
      runs: 15,
      'decision.approve': 200,
      'decision.deny': 25,
      'proposal.edited': 8,
      'proposal.expired': 40,
      'grant.used': 50,
      'by policy': 100,
      'refused: already_settled': 100,
      'refused: own_call': 4,
      'refused: too_late': 10,
    },
  },
  '[decision:one-winner] [decision:denial-is-final] [decision:quorum-counts-distinct-people] [decision:late-click-loses] [audit:every-transition] whoever clicks, edits, grants and withdraws in whatever order: each proposal settles once, by whoever may',
);
