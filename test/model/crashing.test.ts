import { redisForTests } from '../redis-for-tests.ts';
import { sequencesOf } from './sequences.ts';

const server = redisForTests({ emptied: 'once' });

sequencesOf(
  server,
  {
    name: 'crashing',
    sequences: 650,
    most: 3,
    stories: { 'a life': 1, 'a crash': 3, 'an off': 1, 'a grant': 1 },
    weights: {
      propose: 9,
      click: 8,
      vote: 2,
      'deliver again': 3,
      withdraw: 1,
      edit: 2,
      'give grant': 2,
      'revoke grant': 1,
      attempt: 10,
      'deliver a job': 3,
      'end the call': 2,
      'time is over': 3,
      sweep: 2,
      attest: 1,
      off: 1,
      on: 1,
      'renew permits': 1,
      'forget scripts': 1,
      restart: 2,
      befall: 10,
    },
    reaches: {
      runs: 25,
      'processes that died': 100,
      'answers that were lost': 50,
      'outcome.unknown': 30,
      'proposal.expired': 40,
      'proposal.halted': 40,
    },
  },
  '[execution:at-most-once] [approval:single-use] [audit:every-transition] wherever a process dies or an answer is lost: what was told stands, nothing runs twice, and everything ends',
);
